/**
 * Frames: 9P bytes and words of control on one pipe, between the kernel and a plugin's process.
 *
 * Layer: core/host, pure. A frame is its kind (one byte), its length (four bytes, little-endian) and its payload:
 * JSON for CONTROL, a piece of the 9P stream for DATA. DATA is handed on as it comes, CONTROL once it is whole.
 */

import { Err } from "../err.ts";

/** Kinds of a frame. */
export const CONTROL = 0, DATA = 1;
/** Bytes before the payload. */
export const FRAME_HEADER = 5;
/** The largest payload: a module's text as JSON. */
const MAX_FRAME_BYTES = 32 << 20;

const encoder = new TextEncoder(), decoder = new TextDecoder();

/** Puts a frame's header at the start of `into`. */
export function putHeader(into: Uint8Array, kind: number, length: number): void {
  into[0] = kind;
  for (let i = 0; i < 4; i++) into[1 + i] = length >>> (8 * i);
}

/** A CONTROL frame. */
export function controlFrame(message: unknown): Uint8Array<ArrayBuffer> {
  const payload = encoder.encode(JSON.stringify(message)), frame = new Uint8Array(FRAME_HEADER + payload.length);
  putHeader(frame, CONTROL, payload.length);
  frame.set(payload, FRAME_HEADER);
  return frame;
}

/** What a piece of the pipe held. `data` is borrowed from the piece. */
export type Piece = { readonly data: Uint8Array } | { readonly control: unknown };

/** Takes a pipe's bytes apart, in whatever pieces they come. */
export class Deframer {
  readonly #header = new Uint8Array(FRAME_HEADER);
  #headerCount = 0;
  /** Bytes of the payload still to come. */
  #left = 0;
  /** The CONTROL frame that is coming in. */
  #control: Uint8Array | undefined;

  /** The pieces of what has come. Throws EPROTO when it is no frame; then the pipe is of no use any more. */
  *push(bytes: Uint8Array): Generator<Piece> {
    let at = 0;
    while (at < bytes.length) {
      if (this.#left === 0) {
        at += this.#begin(bytes.subarray(at));
        continue;
      }
      const part = bytes.subarray(at, at + this.#left);
      at += part.length;
      this.#left -= part.length;
      if (!this.#control) yield { data: part };
      else if (this.#collect(this.#control, part)) yield { control: this.#parse() };
    }
  }

  /** Takes bytes of a header; answers how many. */
  #begin(bytes: Uint8Array): number {
    const part = bytes.subarray(0, FRAME_HEADER - this.#headerCount);
    this.#header.set(part, this.#headerCount);
    this.#headerCount += part.length;
    if (this.#headerCount < FRAME_HEADER) return part.length;
    this.#headerCount = 0;
    const kind = this.#header[0], length = new DataView(this.#header.buffer).getUint32(1, true);
    if ((kind !== CONTROL && kind !== DATA) || length === 0 || length > MAX_FRAME_BYTES) {
      throw new Err("EPROTO", `not a frame: kind ${kind}, ${length} bytes`);
    }
    this.#left = length;
    this.#control = kind === CONTROL ? new Uint8Array(length) : undefined;
    return part.length;
  }

  #collect(control: Uint8Array, part: Uint8Array): boolean {
    control.set(part, control.length - this.#left - part.length);
    return this.#left === 0;
  }

  #parse(): unknown {
    try {
      return JSON.parse(decoder.decode(this.#control));
    } catch (e) {
      throw new Err("EPROTO", "a control frame is not JSON", { cause: e });
    }
  }
}
