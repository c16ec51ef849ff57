/**
 * portTransport: 9P over a MessagePort, between isolates of one process or windows of a browser.
 *
 * Layer: core/p9. What goes over the port: a Uint8Array of bytes (moved, not copied again), a number that gives the
 * sender that many bytes of credit back, null at the end. A sender without credit waits, so that a slow reader holds
 * at most one window. Anything else that comes, or more than the credit, ends the transport.
 *
 * For two isolates that talk much, the rings of core/ring are a hundred times faster.
 */

import { Err } from "../err.ts";
import { ByteQueue } from "./byte_queue.ts";
import type { Transport } from "./transport.ts";

/** Bytes that may be sent and not yet read. Both sides have to agree. */
const WINDOW_BYTES = 4 << 20;

/** Makes a transport of one end of a MessageChannel, which it takes over. */
export function portTransport(port: MessagePort, options: { remote?: string } = {}): Transport {
  return new PortTransport(port, options.remote ?? "port");
}

class PortTransport implements Transport {
  readonly remote: string;
  #port: MessagePort;
  #queue = new ByteQueue();
  #credit = WINDOW_BYTES;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(port: MessagePort, remote: string) {
    this.remote = remote;
    this.#port = port;
    port.onmessage = ({ data }) => this.#receive(data);
    port.onmessageerror = () => this.close();
    port.addEventListener("close", () => this.#end());
  }

  read(into: Uint8Array): number | null | Promise<number | null> {
    const reading = this.#queue.read(into);
    if (reading instanceof Promise) return reading.then((count) => this.#giveBack(count));
    return this.#giveBack(reading);
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      while (this.#credit === 0 && !this.#closed) await new Promise<void>((wake) => this.#wake = wake);
      if (this.#closed) throw new Err("EPIPE");
      const part = bytes.slice(at, at + this.#credit);
      at += part.length;
      this.#credit -= part.length;
      this.#port.postMessage(part, [part.buffer]);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#port.postMessage(null);
    this.#end();
  }

  #receive(data: unknown): void {
    if (data instanceof Uint8Array && this.#queue.size + data.length <= WINDOW_BYTES) this.#queue.push(data);
    else if (typeof data === "number" && data > 0 && this.#credit + data <= WINDOW_BYTES) this.#earn(data);
    else if (data === null) this.#end();
    else this.close();
  }

  #earn(bytes: number): void {
    this.#credit += bytes;
    this.#wake?.();
  }

  #giveBack(count: number | null): number | null {
    if (count !== null && !this.#closed) this.#port.postMessage(count);
    return count;
  }

  #end(): void {
    this.#closed = true;
    this.#queue.end();
    this.#wake?.();
    this.#port.close();
  }
}
