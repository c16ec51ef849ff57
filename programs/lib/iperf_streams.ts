/**
 * The data of a measurement: streams that are sent as fast as they are taken, or received and thrown away.
 *
 * Layer: programs/lib, under iperf_client.ts and iperf_server.ts. What holds always: between two transfers others of the program have
 * their turn.
 */

import type { Conn } from "ring9/net";
import type { IperfResults, IperfStream } from "./iperf.ts";

/** Bytes that are still to be sent. */
export interface Budget {
  bytes: number;
}

/** A stream under way. */
export class Stream {
  bytes = 0;
  #ended = false;
  #startMs = performance.now();
  #endMs: number | undefined;

  /** `id`: 1, 3, 4, ... as iperf3 numbers them. */
  constructor(readonly conn: Conn, readonly id: number) {}

  /** Sends blocks until `end`, or until the budget that streams share is spent. */
  async send(blockBytes: number, budget: Budget): Promise<void> {
    const block = new Uint8Array(blockBytes).map((_, i) => i);
    this.#startMs = performance.now();
    while (!this.#ended && budget.bytes > 0) {
      const most = Math.min(blockBytes, budget.bytes);
      budget.bytes -= most;
      const count = await this.conn.write(block.subarray(0, most));
      budget.bytes += most - count;
      this.bytes += count;
    }
  }

  /** Receives until the end of the stream, or `end`. */
  async receive(): Promise<void> {
    const room = new Uint8Array(64 * 1024);
    this.#startMs = performance.now();
    while (!this.#ended) {
      const count = await this.conn.read(room);
      if (count === 0) break;
      if (!this.#ended) this.bytes += count;
    }
  }

  /** Counts no more from now on. */
  end(): void {
    this.#ended = true;
    this.#endMs ??= performance.now();
  }

  get seconds(): number {
    return ((this.#endMs ?? performance.now()) - this.#startMs) / 1000;
  }

  get result(): IperfStream {
    const { id, bytes, seconds } = this;
    return { id, bytes, retransmits: -1, jitter: 0, errors: 0, packets: 0, start_time: 0, end_time: seconds };
  }
}

/** iperf3's numbers of streams: 1, 3, 4, 5. */
export function streamId(index: number): number {
  return index === 0 ? 1 : index + 2;
}

/** What this side tells at the end. Nobody here knows the CPU's share. */
export function resultsOf(streams: readonly Stream[]): IperfResults {
  return {
    cpu_util_total: 0,
    cpu_util_user: 0,
    cpu_util_system: 0,
    sender_has_retransmits: 0,
    streams: streams.map((stream) => stream.result),
  };
}
