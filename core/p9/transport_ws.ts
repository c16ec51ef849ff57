/**
 * webSocketTransport: 9P over a WebSocket, on either side, in Deno and in a browser.
 *
 * Layer: core/p9. The socket is passed in; its binary messages are one stream of bytes, wherever they are cut. A text
 * message ends the connection. A WebSocket can neither tell when a send has left nor stop the other side, so: a write
 * waits while too much is buffered, looking again whenever `later` says; and a side that sends far more than is read
 * is cut off.
 */

import { Err } from "../err.ts";
import { ByteQueue } from "./byte_queue.ts";
import type { Transport } from "./transport.ts";

/** What `webSocketTransport` takes. */
export interface WebSocketOptions {
  /** Who is at the other end. */
  remote?: string;
  /** Calls `fn` after a short while: a timer of the host's. */
  later: (fn: () => void) => void;
  /** Bytes that may be on their way out before a write waits. */
  highWaterBytes?: number;
  /** Bytes that may wait to be read before the other side is cut off. */
  maxQueuedBytes?: number;
}

const HIGH_WATER_BYTES = 1 << 20;
const MAX_QUEUED_BYTES = 64 << 20;

/** A WebSocket's transport. */
export interface WebSocketTransport extends Transport {
  /** Settles when the socket is open, or could not be opened. */
  readonly opened: Promise<void>;
}

/** Makes a transport of a WebSocket, open or opening. */
export function webSocketTransport(ws: WebSocket, options: WebSocketOptions): WebSocketTransport {
  const remote = options.remote ?? `ws!${ws.url}`;
  const { highWaterBytes = HIGH_WATER_BYTES, maxQueuedBytes = MAX_QUEUED_BYTES } = options;
  const queue = new ByteQueue();
  ws.binaryType = "arraybuffer";
  const opened = new Promise<void>((resolve, reject) => {
    if (ws.readyState === ws.OPEN) resolve();
    ws.addEventListener("open", () => resolve());
    ws.addEventListener("error", (e) => {
      const why = "message" in e && e.message ? `: ${e.message}` : "";
      reject(new Err("ECONNREFUSED", `WebSocket failed${why}`));
    });
    ws.addEventListener("close", () => reject(new Err("ECONNRESET", "WebSocket was closed")));
  });
  opened.catch(() => {}); // a write or read will tell
  ws.addEventListener("close", () => queue.end());
  ws.addEventListener("message", ({ data }) => {
    if (!(data instanceof ArrayBuffer)) return ws.close(1003, "9P is binary");
    queue.push(new Uint8Array(data));
    if (queue.size > maxQueuedBytes) ws.close(1009, "more than was asked for");
  });
  const write = async (bytes: Uint8Array) => {
    if (ws.readyState === ws.CONNECTING) await opened;
    if (ws.readyState !== ws.OPEN) throw new Err("EPIPE");
    ws.send(bytes.slice());
    while (ws.readyState === ws.OPEN && ws.bufferedAmount > highWaterBytes) await new Promise<void>(options.later);
  };
  return {
    remote,
    opened,
    read: (into) => queue.read(into),
    write,
    close() {
      ws.close();
      queue.end();
    },
  };
}
