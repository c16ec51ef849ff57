/**
 * Fgrp: open files by number, which a group of processes shares.
 *
 * Layer: core, used by Proc. A file that was dup'ed has one offset under both numbers, as in Plan 9.
 * See dup(2) and rfork(2) of Plan 9.
 */

import { Req } from "./dev.ts";
import { Err } from "./err.ts";
import type { Export } from "./export.ts";
import type { U64 } from "./p9/types.ts";
import { quote } from "./path.ts";
import type { NsChan } from "./walk.ts";

/** Numbers a group may have at once. */
const MAX_FDS = 4096;

const MODES = ["r", "w", "rw", "x"];

/** An open file. */
export class OpenFile {
  readonly chan: NsChan;
  readonly files: Export;
  /** The name by which it was opened, absolute. */
  readonly path: string;
  readonly mode: number;
  /** Where a listing goes on. */
  cookie: U64 = 0;
  /** Removes the file when it is closed: ORCLOSE. */
  readonly #removes: boolean;
  #users = 1;
  /** Where it stands: in memory that a program may share, at `#place`. */
  #places: Float64Array = new Float64Array(1);
  #place = 0;

  /** Takes `chan` over. */
  constructor(files: Export, chan: NsChan, path: string, removes = false) {
    this.files = files;
    this.chan = chan;
    this.path = path;
    this.mode = chan.mode;
    this.#removes = removes;
  }

  /** Where the next read or write without an offset goes. */
  get offset(): number {
    return this.#places[this.#place];
  }

  set offset(offset: number) {
    this.#places[this.#place] = offset;
  }

  /** Keeps the offset in this memory from now on. */
  placeAt(places: Float64Array, place: number): void {
    places[place] = this.offset;
    this.#places = places;
    this.#place = place;
  }

  /** Whether nobody holds it any more. */
  get closed(): boolean {
    return this.#users <= 0;
  }

  hold(): this {
    this.#users++;
    return this;
  }

  /** What dup(3) tells of it under the number `fd`: mode, device, qid, offset and name, a line. */
  line(fd: number): string {
    const { qid, inst } = this.chan;
    const path = qid.path.toString(16).padStart(16, "0"), type = qid.type.toString(16).padStart(2, "0");
    const mode = MODES[this.mode & 3].padEnd(2), offset = String(this.offset).padStart(8);
    return `${String(fd).padStart(3)} ${mode} #${inst.dev.name} (${path} ${qid.vers} ${type}) ${offset} ${
      quote(this.path)
    }\n`;
  }

  async drop(): Promise<void> {
    if (--this.#users > 0) return;
    try {
      if (this.#removes) await this.files.remove(this.chan, new Req(this.chan.user));
    } finally {
      await this.files.clunk(this.chan);
    }
  }
}

/** The open files of a group. */
export class Fgrp {
  readonly #files = new Map<number, OpenFile>();
  #users = 1;

  share(): this {
    this.#users++;
    return this;
  }

  /** A group of its own with the same files under the same numbers, or those of `only`. */
  copy(only?: readonly number[]): Fgrp {
    const twin = new Fgrp();
    for (const [fd, file] of this.#files) {
      if (!only || only.includes(fd)) twin.#files.set(fd, file.hold());
    }
    return twin;
  }

  /** One user less; the last one closes all files. */
  async close(): Promise<void> {
    if (--this.#users > 0) return;
    await Promise.allSettled([...this.#files.keys()].map((fd) => this.remove(fd)));
  }

  get(fd: number): OpenFile {
    const file = this.#files.get(fd);
    if (!file) throw new Err("EBADF", `file descriptor ${fd} is not open`);
    return file;
  }

  /** The file of that number, if there is one. */
  find(fd: number): OpenFile | undefined {
    return this.#files.get(fd);
  }

  entries(): [number, OpenFile][] {
    return [...this.#files].sort(([a], [b]) => a - b);
  }

  /** Takes `file` over under the lowest free number, or under `fd`, whose file is closed. */
  add(file: OpenFile, fd = this.#lowest()): number {
    if (!Number.isInteger(fd) || fd < 0 || fd >= MAX_FDS) throw new Err("EBADF", `no such file descriptor: ${fd}`);
    const old = this.#files.get(fd);
    this.#files.set(fd, file);
    // Its failure to close is nobody's: the number has a new file.
    old?.drop().catch(() => {});
    return fd;
  }

  async remove(fd: number): Promise<void> {
    const file = this.get(fd);
    this.#files.delete(fd);
    await file.drop();
  }

  #lowest(): number {
    for (let fd = 0; fd < MAX_FDS; fd++) if (!this.#files.has(fd)) return fd;
    throw new Err("EMFILE");
  }
}
