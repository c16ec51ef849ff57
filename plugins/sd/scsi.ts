/**
 * Scsi: the few SCSI commands that a disk's `raw` file takes.
 *
 * Layer: plugins/sd, over a Disk. As sd(3) has it: a command block is written, then its data is read or written, then the
 * status is read, as a number in text. See SBC-3 and SPC-4 for the commands.
 */

import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { then } from "../../core/tree_node.ts";
import type { Disk } from "../../devices/disk.ts";

const GOOD = 0, CHECK_CONDITION = 2;
const TEST_UNIT_READY = 0x00, REQUEST_SENSE = 0x03, INQUIRY = 0x12, READ_CAPACITY_10 = 0x25, READ_10 = 0x28;
const WRITE_10 = 0x2a, SYNCHRONIZE_CACHE = 0x35, READ_16 = 0x88, WRITE_16 = 0x8a, SERVICE_ACTION_IN = 0x9e;
/** Sense keys. */
const NO_SENSE = 0, MEDIUM_ERROR = 3, ILLEGAL_REQUEST = 5, DATA_PROTECT = 7;
const MAX_TRANSFER_BYTES = 1 << 20, STATUS_CHARS = 12;

/** One exchange after the other: `command`, `data`, `status`. */
export class Scsi {
  readonly #disk: Disk;
  readonly #model: string;
  #state: "command" | "data" | "status" = "command";
  #cdb = new DataView(new ArrayBuffer(16));
  #status = GOOD;
  #sense = NO_SENSE;

  constructor(disk: Disk, model: string) {
    this.#disk = disk;
    this.#model = model;
  }

  /** A command, or the data of one. */
  write(bytes: Uint8Array): MaybePromise<number> {
    if (this.#state === "command") return this.#begin(bytes);
    if (this.#state === "status") throw new Err("EPROTO", "the status has to be read first");
    const data = bytes.slice();
    return then(this.#settle(() => this.#take(data)), () => bytes.length);
  }

  /** Data of a command, or its status. */
  read(count: number): MaybePromise<Uint8Array> {
    if (this.#state === "command") throw new Err("EPROTO", "a command has to be written first");
    if (this.#state === "status") {
      this.#state = "command";
      return new TextEncoder().encode(String(this.#status).padEnd(STATUS_CHARS)).subarray(0, count);
    }
    let found: Uint8Array = new Uint8Array(0);
    const done = this.#settle(() => then(this.#give(), (data) => void (found = data.subarray(0, count))));
    return then(done, () => found);
  }

  #begin(bytes: Uint8Array): number {
    if (bytes.length < 6 || bytes.length > 16) throw new Err("EINVAL", "a command has 6 to 16 bytes");
    this.#cdb = new DataView(new ArrayBuffer(16));
    new Uint8Array(this.#cdb.buffer).set(bytes);
    this.#state = "data";
    return bytes.length;
  }

  /** Runs the part of a command that moves data; what fails becomes its status. */
  #settle(run: () => MaybePromise<void>): MaybePromise<void> {
    const finish = (sense: number) => {
      this.#state = "status";
      this.#sense = sense;
      this.#status = sense === NO_SENSE ? GOOD : CHECK_CONDITION;
    };
    const failed = (thrown: unknown) => {
      if (!(thrown instanceof Err)) throw thrown;
      finish(thrown.code === "EINVAL" ? ILLEGAL_REQUEST : thrown.code === "EROFS" ? DATA_PROTECT : MEDIUM_ERROR);
    };
    try {
      const done = run();
      if (done instanceof Promise) return done.then(() => finish(NO_SENSE), failed);
      finish(NO_SENSE);
    } catch (thrown) {
      failed(thrown);
    }
  }

  #give(): MaybePromise<Uint8Array> {
    switch (this.#cdb.getUint8(0)) {
      case TEST_UNIT_READY:
        return new Uint8Array(0);
      case REQUEST_SENSE:
        return Uint8Array.from([0x70, 0, this.#sense, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
      case INQUIRY:
        return this.#inquiry();
      case READ_CAPACITY_10:
        return this.#capacity(8);
      case SERVICE_ACTION_IN:
        if ((this.#cdb.getUint8(1) & 31) !== 0x10) throw new Err("EINVAL");
        return this.#capacity(32);
      case SYNCHRONIZE_CACHE:
        return then(this.#disk.flush(), () => new Uint8Array(0));
      case READ_10:
      case READ_16: {
        const { offset, length } = this.#range(), data = new Uint8Array(length);
        return then(this.#disk.read(data, offset), () => data);
      }
      default:
        throw new Err("EINVAL");
    }
  }

  #take(data: Uint8Array): MaybePromise<void> {
    const op = this.#cdb.getUint8(0);
    if (op !== WRITE_10 && op !== WRITE_16) return data.length === 0 ? then(this.#give(), () => {}) : invalid();
    const { offset, length } = this.#range();
    if (data.length !== length) return invalid();
    return this.#disk.write(data, offset);
  }

  /** The bytes that a read or write names. */
  #range(): { offset: number; length: number } {
    const long = this.#cdb.getUint8(0) >= 0x80, { sectorBytes } = this.#disk;
    const lba = long ? Number(this.#cdb.getBigUint64(2)) : this.#cdb.getUint32(2);
    const count = long ? this.#cdb.getUint32(10) : this.#cdb.getUint16(7);
    const offset = lba * sectorBytes, length = count * sectorBytes;
    if (length > MAX_TRANSFER_BYTES || offset + length > this.#disk.size) throw new Err("EINVAL");
    return { offset, length };
  }

  #inquiry(): Uint8Array {
    const text = (words: string, length: number) => words.slice(0, length).padEnd(length);
    const head = [0, 0, 5, 2, 31, 0, 0, 0];
    const words = new TextEncoder().encode(text("ring9", 8) + text(this.#model.replace(/[^ -~]/g, "?"), 16) + "0.1 ");
    return Uint8Array.from([...head, ...words]);
  }

  #capacity(bytes: 8 | 32): Uint8Array {
    const view = new DataView(new ArrayBuffer(bytes)), last = this.#disk.size / this.#disk.sectorBytes - 1;
    if (bytes === 8) view.setUint32(0, Math.min(last, 0xffffffff));
    else view.setBigUint64(0, BigInt(last));
    view.setUint32(bytes === 8 ? 4 : 8, this.#disk.sectorBytes);
    return new Uint8Array(view.buffer);
  }
}

function invalid(): never {
  throw new Err("EINVAL");
}
