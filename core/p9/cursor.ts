/**
 * Reader and Writer: the fields of 9P messages in a buffer, little-endian.
 *
 * Layer: core/p9, pure; below the codec. A Reader never reads past its message, a Writer grows its buffer up to a
 * limit. Both keep one buffer and move offsets: no allocation a field, but for the strings and qids handed out.
 */

import { Err } from "../err.ts";
import { copyBytes } from "./bytes.ts";
import type { Qid, U64 } from "./types.ts";
import { decodeUtf8, encodeUtf8, utf8Length } from "./utf8.ts";

const TWO32 = 0x1_0000_0000;

/** Reads fields of one message after another. Everything that overruns the message throws EPROTO. */
export class Reader {
  bytes: Uint8Array;
  #view: DataView;
  /** Where the next field stands. */
  at = 0;
  /** Where the message ends. */
  end = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Points at the message that stands from `at` to `end`. */
  reset(at: number, end: number): this {
    this.at = at;
    this.end = end;
    return this;
  }

  #take(size: number): number {
    const at = this.at;
    if (size > this.end - at) throw new Err("EPROTO", "message is too short for its fields");
    this.at = at + size;
    return at;
  }

  u8(): number {
    return this.bytes[this.#take(1)];
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): U64 {
    const at = this.#take(8);
    const high = this.#view.getUint32(at + 4, true);
    const low = this.#view.getUint32(at, true);
    return high < 0x20_0000 ? high * TWO32 + low : (BigInt(high) << 32n) | BigInt(low);
  }

  /** A string: its length in two bytes, then UTF-8. */
  str(): string {
    const length = this.u16();
    return decodeUtf8(this.bytes, this.#take(length), length);
  }

  qid(): Qid {
    return { type: this.u8(), vers: this.u32(), path: this.u64() };
  }

  /** `count` bytes, borrowed from the buffer. */
  data(count: number): Uint8Array {
    const at = this.#take(count);
    return this.bytes.subarray(at, at + count);
  }

  /** Refuses a message that has bytes left. */
  done(): void {
    if (this.at !== this.end) throw new Err("EPROTO", `message has ${this.end - this.at} bytes too many`);
  }
}

/** Writes fields of one message after another into a buffer that grows up to `limit` bytes. */
export class Writer {
  bytes: Uint8Array;
  #view: DataView;
  /** Bytes written. */
  at = 0;
  readonly limit: number;

  constructor(size: number, limit: number) {
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
    this.limit = limit;
  }

  /** Bytes that still fit. */
  get room(): number {
    return this.limit - this.at;
  }

  /** Makes room for `size` more bytes; EMSGSIZE past the limit. */
  reserve(size: number): void {
    const need = this.at + size;
    if (need <= this.bytes.length) return;
    if (need > this.limit) throw new Err("EMSGSIZE", `message of ${need} bytes is over the limit of ${this.limit}`);
    const grown = new Uint8Array(Math.min(this.limit, Math.max(need, 2 * this.bytes.length)));
    grown.set(this.bytes.subarray(0, this.at));
    this.bytes = grown;
    this.#view = new DataView(grown.buffer);
  }

  u8(value: number): void {
    this.reserve(1);
    this.bytes[this.at++] = value;
  }

  u16(value: number): void {
    this.reserve(2);
    this.#view.setUint16(this.at, value, true);
    this.at += 2;
  }

  u32(value: number): void {
    this.reserve(4);
    this.#view.setUint32(this.at, value, true);
    this.at += 4;
  }

  u64(value: U64): void {
    this.reserve(8);
    if (typeof value === "bigint") this.#view.setBigUint64(this.at, value, true);
    else {
      this.#view.setUint32(this.at, value >>> 0, true);
      this.#view.setUint32(this.at + 4, (value / TWO32) >>> 0, true);
    }
    this.at += 8;
  }

  /** A string: its length in two bytes, then UTF-8. Over 65,535 bytes is ENAMETOOLONG. */
  str(text: string): void {
    const size = utf8Length(text);
    if (size > 0xffff) throw new Err("ENAMETOOLONG", `a string of ${size} bytes does not fit in a message`);
    this.reserve(2 + size);
    this.#view.setUint16(this.at, size, true);
    encodeUtf8(text, this.bytes, this.at + 2);
    this.at += 2 + size;
  }

  qid(qid: Qid): void {
    this.u8(qid.type);
    this.u32(qid.vers);
    this.u64(qid.path);
  }

  data(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    copyBytes(bytes, this.bytes, this.at);
    this.at += bytes.length;
  }

  /** Puts a 16-bit number at `at`, over what stands there. */
  patch16(at: number, value: number): void {
    this.#view.setUint16(at, value, true);
  }

  /** Puts a 32-bit number at `at`, over what stands there. */
  patch32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }
}
