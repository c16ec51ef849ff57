/**
 * Transport: how bytes of 9P reach the other side. One interface for TCP, unix sockets, stdio, WebSocket,
 * MessagePort and shared-memory rings.
 *
 * Layer: core/p9, pure types. 9P frames itself, so a transport is a plain byte stream: what one side writes in two
 * pieces the other may read in one. Those that touch the host are in core/host.
 */

import type { DataRef } from "./msg.ts";

/** A reliable, ordered, two-way stream of bytes. */
export interface Transport {
  /** Who is at the other end, for logs and status: `tcp!127.0.0.1!4321`, `unix!/run/ring9/9p`. */
  readonly remote: string;
  /** Memory that both ends see, where there is any: large data goes by reference. */
  readonly blocks?: Blocks;
  /** Set by who serves: whether requests are under way, so that waiting for the next must not block the isolate. */
  busy?: () => boolean;
  /**
   * Reads at least one byte into `into`. Answers the count, or null at the end of the stream.
   * One that has bytes at hand may answer at once. One read at a time.
   */
  read(into: Uint8Array): number | null | Promise<number | null>;
  /**
   * Writes all of `bytes`; they are borrowed until it has answered. One write at a time.
   * Throws when the other side has gone.
   */
  write(bytes: Uint8Array): void | Promise<void>;
  /** Ends both directions; a read under way answers null. May be called twice. */
  close(): void;
}

/** A block of shared memory that is lent: filled by one side, read and given back by the other. */
export interface Block {
  /** What a reference to its first byte says. */
  readonly at: number;
  /** All of its bytes. They begin at a multiple of 8. */
  readonly view: Uint8Array;
  /** Says which lending this is. */
  readonly ticket: number;
}

/** Blocks between the two ends of a transport, and no one else. */
export interface Blocks {
  /** A block of at least `bytes` for the other side; undefined when none is free. */
  lend(bytes: number): Block | undefined;
  /** Takes back a block to which no reference was sent. */
  takeBack(block: Block): void;
  /** What the other side's reference stands for. Throws EPROTO for one that stands for nothing. */
  borrow(ref: DataRef): Uint8Array;
  /** Lets the other side have it back. */
  giveBack(ref: DataRef): void;
}
