/**
 * How a program in an isolate of its own calls the kernel: what a call and its answer look like in a ring.
 *
 * Layer: core, pure; proc_link.ts is the program's end, proc_service.ts the kernel's. A message's kind is the number of
 * the call, NOTICE for what the kernel says unasked. Its bytes are a head, then data, then text (JSON). READ and WRITE
 * are binary; all other calls are a name and its arguments as text.
 *
 * All of it lies in memory that both may write: lengths are checked against the message before they are used.
 */

import { Err } from "./err.ts";
import type { Consumer, Producer } from "./ring/spsc.ts";

/** Bytes that one read or write moves at the most; a longer one is cut short, as read(2) may be. */
export const CALL_BYTES = 64 * 1024;
/** Bytes of each of the two rings: several of the largest messages. */
export const CALL_RING_BYTES = 1 << 20;

/** Calls that are begun before others of the isolate have their turn. */
export const BATCH = 256;

/** Kinds of a call; and the number of a message that is none. */
export const READ = 1, WRITE = 2, CALL = 3, FLUSH = 4, NOTICE = 0;
/** Where an offset stands for the place where the file stands. */
export const HERE = -1;
/** Status of an answer. */
export const OK = 0, FAILED = 1;

/** Words of the head: kind or status; file or number of the call to flush; count; bytes of data and of text; place; value (64 bits). */
const KIND = 0, FD = 1, COUNT = 2, DATA = 3, TEXT = 4, PLACE = 5, VALUE = 3;
export const HEAD_BYTES = 32;

const encoder = new TextEncoder(), decoder = new TextDecoder();
const NONE = new Uint8Array(0);

/**
 * A head: of a call `value` is the offset and `place` how many notes the program has seen; of an answer `value` is the
 * count or whatever number it is. The answer to a read or write may
 * say where the next one may go: `fd` is then the number of a lane, from 1, `count` the fid on it, and `place` the place of the
 * file's offset.
 */
export interface Head {
  kind: number;
  fd: number;
  count: number;
  value: number;
  place?: number;
}

/** Reads and writes messages in the rings of one side. */
export class Wire {
  readonly in: Consumer;
  readonly out: Producer;
  /** The head of the message that `next` found. */
  readonly head: Head = { kind: 0, fd: 0, count: 0, value: 0, place: 0 };
  /** Where its data lies in `in.bytes`, and how much. */
  dataAt = 0;
  dataBytes = 0;
  readonly #inFloats: Float64Array;
  readonly #outFloats: Float64Array;
  #textBytes = 0;

  constructor(input: Consumer, out: Producer) {
    this.in = input;
    this.out = out;
    this.#inFloats = floats(input.bytes);
    this.#outFloats = floats(out.bytes);
  }

  /** The number of the next call or answer, whose head is then in `head`; -1 when there is none. EPROTO for a bad one. */
  next(): number {
    const at = this.in.next();
    if (at < 0) return -1;
    const { words, length } = this.in, w = at >> 2, head = this.head;
    if (length < HEAD_BYTES) throw new Err("EPROTO", "a call without a head");
    head.kind = words[w + KIND];
    head.fd = words[w + FD];
    head.count = words[w + COUNT];
    head.place = words[w + PLACE];
    head.value = this.#inFloats[(at >> 3) + VALUE];
    this.dataBytes = words[w + DATA];
    this.#textBytes = words[w + TEXT];
    this.dataAt = at + HEAD_BYTES;
    const fits = this.dataBytes >= 0 && this.#textBytes >= 0 && HEAD_BYTES + this.dataBytes + this.#textBytes <= length;
    if (!fits) throw new Err("EPROTO", "a call longer than its message");
    return this.in.kind;
  }

  /** The data of the message that `next` found; borrowed until `in.release()`. */
  data(): Uint8Array {
    return this.in.bytes.subarray(this.dataAt, this.dataAt + this.dataBytes);
  }

  /** The text of that message, read as JSON; undefined when there is none. EPROTO when it is none. */
  json(): unknown {
    if (this.#textBytes === 0) return undefined;
    const from = this.dataAt + this.dataBytes;
    try {
      return JSON.parse(decoder.decode(this.in.bytes.slice(from, from + this.#textBytes)), revive);
    } catch (e) {
      throw new Err("EPROTO", "a call whose text is no JSON", { cause: e });
    }
  }

  /** Puts a message into the ring, to be seen at `out.publish()`; false when there is no room now. */
  put(id: number, head: Head, data: Uint8Array = NONE, text: Uint8Array = NONE): boolean {
    const at = this.reserve(id, head, data.length, text.length);
    if (at < 0) return false;
    if (data.length > 0) this.out.bytes.set(data, at);
    if (text.length > 0) this.out.bytes.set(text, at + data.length);
    return true;
  }

  /** Puts a head into the ring: the offset in `out.bytes` where the data goes, the text behind it; -1 without room. */
  reserve(id: number, head: Head, dataBytes: number, textBytes: number): number {
    const at = this.out.reserve(HEAD_BYTES + dataBytes + textBytes, id);
    if (at < 0) return -1;
    const { words } = this.out, w = at >> 2;
    words[w + KIND] = head.kind;
    words[w + FD] = head.fd;
    words[w + COUNT] = head.count;
    words[w + DATA] = dataBytes;
    words[w + TEXT] = textBytes;
    words[w + PLACE] = head.place ?? 0;
    this.#outFloats[(at >> 3) + VALUE] = head.value;
    return at + HEAD_BYTES;
  }
}

/** A value as the text of a message. */
export function textOf(value: unknown): Uint8Array {
  return value === undefined ? NONE : encoder.encode(JSON.stringify(value, replace));
}

/** JSON has no bigints; those of the calls (qid.path) are not negative. */
function replace(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? { bigint: String(value) } : value;
}

function revive(_key: string, value: unknown): unknown {
  const text = (value as { bigint?: unknown } | null)?.bigint;
  return typeof text === "string" && /^\d{1,20}$/.test(text) ? BigInt(text) : value;
}

function floats(bytes: Uint8Array): Float64Array {
  return new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length >> 3);
}
