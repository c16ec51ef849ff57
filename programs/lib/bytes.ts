/**
 * ByteReader: lines and exact counts of bytes out of a conversation.
 *
 * Layer: programs/lib, under http.ts and iperf.ts. What holds always: nothing that was read is lost between two calls.
 */

import { Err } from "ring9/proc";

/** Where bytes come from: `Conn` is one. */
export interface ByteSource {
  read(into: Uint8Array): Promise<number>;
}

const ROOM_BYTES = 64 * 1024, LF = 10, CR = 13;

export class ByteReader {
  readonly #room = new Uint8Array(ROOM_BYTES);
  #at = 0;
  #end = 0;

  constructor(private readonly source: ByteSource) {}

  /** A line without its end; null when the source ends before its first byte. Throws EMSGSIZE when it is longer. */
  async line(mostBytes: number): Promise<string | null> {
    const parts: Uint8Array[] = [];
    for (let length = 0;;) {
      if (this.#at === this.#end && !await this.#fill()) {
        if (length === 0) return null;
        throw new Err("EPROTO", "the connection ended within a line");
      }
      const held = this.#room.subarray(this.#at, this.#end), feed = held.indexOf(LF);
      const part = held.slice(0, feed < 0 ? held.length : feed);
      this.#at += feed < 0 ? held.length : feed + 1;
      parts.push(part);
      if ((length += part.length) > mostBytes) throw new Err("EMSGSIZE", `a line of more than ${mostBytes} bytes`);
      if (feed >= 0) return textOf(parts, length);
    }
  }

  /** Some bytes, at most `most`, borrowed until the next call; none at the end. */
  async some(most = ROOM_BYTES): Promise<Uint8Array> {
    if (this.#at === this.#end && !await this.#fill()) return new Uint8Array(0);
    const part = this.#room.subarray(this.#at, Math.min(this.#end, this.#at + most));
    this.#at += part.length;
    return part;
  }

  /** Exactly so many bytes. Throws EPROTO when the source ends before. */
  async exactly(count: number): Promise<Uint8Array> {
    const all = new Uint8Array(count);
    for (let at = 0; at < count;) {
      const part = await this.some(count - at);
      if (part.length === 0) throw new Err("EPROTO", `the connection ended after ${at} of ${count} bytes`);
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  async #fill(): Promise<boolean> {
    this.#at = this.#end = 0;
    this.#end = await this.source.read(this.#room);
    return this.#end > 0;
  }
}

function textOf(parts: Uint8Array[], length: number): string {
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return new TextDecoder().decode(all.subarray(0, all.at(-1) === CR ? length - 1 : length));
}
