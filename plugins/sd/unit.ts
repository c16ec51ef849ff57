/**
 * Unit: one disk as Plan 9's sd(3) shows it: `ctl`, `raw`, `data`, and a file for each part.
 *
 * Layer: plugins/sd, over devices. What holds always: `data` is the whole disk; a part lies inside it; a part that was
 * deleted answers EIO to who has it open.
 */

import { Err, excerpt } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { DMEXCL } from "../../core/p9/types.ts";
import { ctl } from "../../core/tree_ctl.ts";
import { dynamic, isName } from "../../core/tree_dir.ts";
import { raw } from "../../core/tree_file.ts";
import { type DirNode, type FileNode, then } from "../../core/tree_node.ts";
import { type Disk, DiskPart } from "../../devices/disk.ts";
import { DiskBytes } from "../../devices/disk_bytes.ts";
import type { OwnedDisk } from "../../devices/disk_queue.ts";
import { readPartitions } from "../../devices/partition.ts";
import { Scsi } from "./scsi.ts";

const MODE = 0o640, MAX_PARTS = 64;

/** A row of sectors with a name. */
interface Part {
  start: number;
  /** The first sector after it. */
  end: number;
  node: FileNode;
  gone: boolean;
}

export class Unit {
  readonly name: string;
  readonly path: string;
  readonly dir: DirNode;
  /** Open files of it. */
  opens = 0;
  /** Why nothing of it answers any more. */
  gone: Err | null = null;
  readonly #owned: OwnedDisk;
  readonly #parts = new Map<string, Part>();

  private constructor(name: string, path: string, owned: OwnedDisk) {
    this.name = name;
    this.path = path;
    this.#owned = owned;
    this.add("data", 0, this.#sectors);
    const fixed = new Map<string, FileNode>([["ctl", this.#ctl()], ["raw", rawFile(this)]]);
    this.dir = dynamic({
      list: () => [...fixed.keys(), ...this.#parts.keys()],
      get: (file) => fixed.get(file) ?? this.#parts.get(file)?.node,
    });
  }

  /** A disk with the parts that its own table names. */
  static async make(name: string, path: string, owned: OwnedDisk, log: (text: string) => void): Promise<Unit> {
    const unit = new Unit(name, path, owned), { parts, warnings } = await readPartitions(owned.disk);
    for (const part of parts.slice(0, MAX_PARTS)) unit.add(part.name, part.start, part.end);
    for (const warning of warnings) log(`${name}: ${warning}`);
    return unit;
  }

  get disk(): Disk {
    return this.#owned.disk;
  }

  get #sectors(): number {
    return Math.floor(this.disk.size / this.disk.sectorBytes);
  }

  /** Adds a part, in sectors. EEXIST, EINVAL. */
  add(name: string, start: number, end: number): void {
    if (!isName(name) || name === "ctl" || name === "raw") {
      throw new Err("EINVAL", `"${excerpt(name)}" is no name for a part`);
    }
    if (this.#parts.has(name)) throw new Err("EEXIST", `there is a part ${name} already`);
    if (this.#parts.size > MAX_PARTS) throw new Err("ENOSPC", `${MAX_PARTS} parts are enough`);
    if (!(start >= 0 && start < end && end <= this.#sectors)) {
      throw new Err("EINVAL", `sectors ${start} to ${end} are not on a disk of ${this.#sectors}`);
    }
    const { sectorBytes } = this.disk;
    const disk = new DiskPart(this.disk, { start: start * sectorBytes, size: (end - start) * sectorBytes });
    const part: Part = { start, end, gone: false, node: this.#file(new DiskBytes(disk), () => part.gone) };
    this.#parts.set(name, part);
  }

  /** Takes a part away. ENOENT. */
  delete(name: string): void {
    const part = this.#parts.get(name);
    if (!part) throw new Err("ENOENT", `no part is called ${excerpt(name)}`);
    part.gone = true;
    this.#parts.delete(name);
  }

  /** As sd(3) has it: what it is, how large, and its parts. */
  text(): string {
    const lines = [...this.#parts].map(([name, { start, end }]) => `part ${name} ${start} ${end}\n`);
    const access = this.disk.readOnly ? "readonly\n" : "";
    return `inquiry ring9 ${this.path}\n${access}geometry ${this.#sectors} ${this.disk.sectorBytes}\n${lines.join("")}`;
  }

  /** Brings all to the disk, and leaves it alone from now on. */
  async quiesce(why: Err): Promise<void> {
    this.gone = why;
    if (!this.disk.readOnly) await this.disk.flush();
  }

  release(): MaybePromise<void> {
    return this.#owned.release();
  }

  #ctl(): FileNode {
    return ctl({
      "part name start:int end:int": {
        help: "names the sectors from start to before end",
        run: (name, start, end) => this.add(name, start, end),
      },
      "delpart name": { help: "takes the name away", run: (name) => this.delete(name) },
      "flush": { help: "brings all that was written to stable storage", run: () => this.disk.flush() },
    }, { read: () => this.text(), mode: MODE });
  }

  /** A file over bytes of the disk. */
  #file(bytes: DiskBytes, isGone: () => boolean): FileNode {
    const check = () => {
      if (this.gone) throw this.gone;
      if (isGone()) throw new Err("EIO", "the part was deleted");
    };
    return raw({
      mode: MODE,
      length: () => bytes.disk.size,
      open: () => {
        check();
        this.opens++;
        return {
          read(dst, offset) {
            check();
            let into = dst;
            if (!bytes.disk.cached) into = new Uint8Array(dst.length);
            const count = bytes.read(into, offset);
            return count instanceof Promise ? count.then((n) => into.subarray(0, n)) : filled(dst, into, count);
          },
          write(data, offset) {
            check();
            const count = bytes.write(bytes.disk.cached ? data : data.slice(), offset);
            return then(count, (n) => {
              if (n === 0 && data.length > 0) throw new Err("ENOSPC", "past the end of the disk");
              return n;
            });
          },
          fsync: () => bytes.disk.flush(),
          close: () => void this.opens--,
        };
      },
    });
  }
}

function filled(dst: Uint8Array, from: Uint8Array, count: number): number {
  if (from !== dst) dst.set(from.subarray(0, count));
  return count;
}

/** The `raw` file: for one opener at a time, as an exchange has several steps. */
function rawFile(unit: Unit): FileNode {
  let isOpen = false;
  return raw({
    mode: (DMEXCL | 0o600) >>> 0,
    open: () => {
      if (unit.gone) throw unit.gone;
      if (isOpen) throw new Err("EAGAIN", "exclusive use file already open");
      isOpen = true;
      const scsi = new Scsi(unit.disk, unit.name);
      unit.opens++;
      return {
        read: (dst) => scsi.read(dst.length),
        write: (data) => scsi.write(data),
        close: () => {
          isOpen = false;
          unit.opens--;
        },
      };
    },
  });
}
