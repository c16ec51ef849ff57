/**
 * Transport: how bytes of 9P reach the other side. One interface for TCP, unix sockets, stdio, WebSocket,
 * MessagePort and shared-memory rings.
 *
 * Layer: core/p9, pure types. 9P frames itself, so a transport is a plain byte stream: what one side writes in two
 * pieces the other may read in one. Those that touch the host are in core/host.
 */

/** A reliable, ordered, two-way stream of bytes. */
export interface Transport {
  /** Who is at the other end, for logs and status: `tcp!127.0.0.1!4321`, `unix!/run/ring9/9p`. */
  readonly remote: string;
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
