/**
 * The options of TCP segments: MSS, window scale, SACK permitted, SACK blocks, timestamps.
 *
 * Layer: net/wire, beside tcp. One object is read into, or filled and written, again and again: nothing is allocated for a
 * segment. Written in Linux's order, so that fingerprints and middle boxes see what they know. Other kinds are skipped.
 *
 * See RFC 9293, 3.1 and 3.2; RFC 7323 (window scale, timestamps), RFC 2018 (SACK).
 */

import { type Fault, get16, get32, set16, set32 } from "./packet.ts";
import type { Seq } from "./tcp_seq.ts";

/** Kinds of options. */
const END = 0, NOP = 1, MSS = 2, WINDOW_SCALE = 3, SACK_PERMITTED = 4, SACK = 5, TIMESTAMPS = 8;

/** NOP, NOP, timestamps of 10 bytes: how nearly every segment's options begin. */
const USUAL = NOP << 24 | NOP << 16 | TIMESTAMPS << 8 | 10;

/** Bytes that options may take at the most, and what timestamps and one SACK block take. */
export const TCP_OPTIONS_MAX_BYTES = 40;
const TIMESTAMPS_BYTES = 12, BLOCK_BYTES = 8;

/** The largest shift that means more than itself (RFC 7323, 2.3). */
const MAX_WINDOW_SCALE = 14;

/** SACK blocks in one segment at the most: without timestamps there is room for four. */
export const MAX_SACK_BLOCKS = 4;

/** The options of one segment. */
export class TcpOptions {
  /** The largest segment that the sender takes; 0: not said. */
  mss = 0;
  /** By how much the sender's windows are to be shifted, at most 14; -1: not said. */
  windowScale = -1;
  sackPermitted = false;
  timestamps = false;
  /** The sender's clock, and what it saw last of ours; with `timestamps` only. */
  tsVal = 0;
  tsEcr = 0;
  /** SACK blocks, from `left` up to before `right`. */
  sackCount = 0;
  readonly sackLeft: Int32Array = new Int32Array(MAX_SACK_BLOCKS);
  readonly sackRight: Int32Array = new Int32Array(MAX_SACK_BLOCKS);

  clear(): void {
    this.mss = 0;
    this.windowScale = -1;
    this.sackPermitted = false;
    this.timestamps = false;
    this.tsVal = 0;
    this.tsEcr = 0;
    this.sackCount = 0;
  }

  /** Adds a SACK block; answers false when there is no room for it beside the other options. */
  addSack(left: Seq, right: Seq): boolean {
    if (this.sackCount === MAX_SACK_BLOCKS || this.bytes + (this.sackCount ? 8 : 12) > TCP_OPTIONS_MAX_BYTES) {
      return false;
    }
    this.sackLeft[this.sackCount] = left;
    this.sackRight[this.sackCount++] = right;
    return true;
  }

  /**
   * Reads options [at, end), usually from `optionsAt` to `payloadAt` of a segment. When one runs out of them, what stood
   * before it has been read, and `option` is the answer: RFC 9293 leaves it to the stack whether to go on. An option that
   * is known and has another length than its own is passed over.
   */
  parse(bytes: Uint8Array, at: number, end: number): Fault | undefined {
    this.clear();
    if (end - at >= TIMESTAMPS_BYTES && get32(bytes, at) === USUAL) {
      this.#timestamps(bytes, at + 4);
      at += TIMESTAMPS_BYTES;
    }
    while (at < end && bytes[at] !== END) {
      if (bytes[at] === NOP) {
        at++;
        continue;
      }
      if (end - at < 2) return "option";
      const length = bytes[at + 1];
      if (length < 2 || length > end - at) return "option";
      this.#option(bytes, at, length);
      at += length;
    }
    return undefined;
  }

  #option(bytes: Uint8Array, at: number, length: number): void {
    switch (bytes[at]) {
      case MSS:
        if (length === 4) this.mss = get16(bytes, at + 2);
        break;
      case WINDOW_SCALE:
        if (length === 3) this.windowScale = Math.min(bytes[at + 2], MAX_WINDOW_SCALE);
        break;
      case SACK_PERMITTED:
        if (length === 2) this.sackPermitted = true;
        break;
      case SACK:
        if (length % BLOCK_BYTES === 2) this.#sack(bytes, at + 2, length - 2);
        break;
      case TIMESTAMPS:
        if (length === 10) this.#timestamps(bytes, at + 2);
    }
  }

  #timestamps(bytes: Uint8Array, at: number): void {
    this.timestamps = true;
    this.tsVal = get32(bytes, at);
    this.tsEcr = get32(bytes, at + 4);
  }

  #sack(bytes: Uint8Array, at: number, length: number): void {
    this.sackCount = Math.min(length / BLOCK_BYTES, MAX_SACK_BLOCKS);
    for (let i = 0; i < this.sackCount; i++, at += BLOCK_BYTES) {
      this.sackLeft[i] = get32(bytes, at);
      this.sackRight[i] = get32(bytes, at + 4);
    }
  }

  /** Bytes that `emit` writes: a multiple of 4, and at most 40 when blocks came by `addSack`. */
  get bytes(): number {
    const head = (this.mss ? 4 : 0) + (this.timestamps ? TIMESTAMPS_BYTES : this.sackPermitted ? 4 : 0);
    return head + (this.windowScale >= 0 ? 4 : 0) + (this.sackCount ? 4 + this.sackCount * BLOCK_BYTES : 0);
  }

  /** Writes the options at `at`; answers where they end. What fills up to words of four bytes is NOP, and stands in front. */
  emit(bytes: Uint8Array, at: number): number {
    if (this.mss) {
      set32(bytes, at, MSS << 24 | 4 << 16 | this.mss);
      at += 4;
    }
    if (this.timestamps) at = this.#emitTimestamps(bytes, at);
    else if (this.sackPermitted) at = this.#emitPadded(bytes, at, SACK_PERMITTED << 8 | 2);
    if (this.windowScale >= 0) {
      set32(bytes, at, NOP << 24 | WINDOW_SCALE << 16 | 3 << 8 | this.windowScale);
      at += 4;
    }
    return this.sackCount ? this.#emitSack(bytes, at) : at;
  }

  /** SACK permitted takes the place of what fills up the timestamps. */
  #emitTimestamps(bytes: Uint8Array, at: number): number {
    if (this.sackPermitted) set32(bytes, at, SACK_PERMITTED << 24 | 2 << 16 | TIMESTAMPS << 8 | 10);
    else set32(bytes, at, USUAL);
    set32(bytes, at + 4, this.tsVal);
    set32(bytes, at + 8, this.tsEcr);
    return at + TIMESTAMPS_BYTES;
  }

  #emitSack(bytes: Uint8Array, at: number): number {
    at = this.#emitPadded(bytes, at, SACK << 8 | 2 + this.sackCount * BLOCK_BYTES);
    for (let i = 0; i < this.sackCount; i++, at += BLOCK_BYTES) {
      set32(bytes, at, this.sackLeft[i]);
      set32(bytes, at + 4, this.sackRight[i]);
    }
    return at;
  }

  #emitPadded(bytes: Uint8Array, at: number, kindAndLength: number): number {
    set16(bytes, at, NOP << 8 | NOP);
    set16(bytes, at + 2, kindAndLength);
    return at + 4;
  }
}
