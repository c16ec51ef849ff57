/**
 * A plugin's isolate once its imports are confined: takes away the globals that reach outside, starts the heartbeat
 * and the plugin, and serves its tree over the rings.
 *
 * Layer: core/host, on the confined side; isolate_main.ts calls it, isolate.ts is the other end. What really holds the
 * isolate back is the lock on its thread (lockdown.ts); this makes what would fail there absent, and leaves a
 * plugin no way to more workers, which no lock of the system's knows.
 */

import { format } from "node:util";
import { Client } from "../p9/client.ts";
import { LaneServer } from "../proc_lane.ts";
import { ringTransport } from "../ring/transport.ts";
import { errorText, type FromPlugin, type LaneNews, type ToPlugin } from "./hosted.ts";
import { type HeapGauge, makeHeart } from "./heart.ts";
import { hostClock } from "./clock.ts";
import type { IsolateData } from "./isolate.ts";
import { type Running, runPlugin } from "./plugin_run.ts";
import { turn } from "./turn.ts";

/** What a plugin keeps of the web's globals; the language's own (Array, Promise, ...) stay in any case. */
const KEPT = words(`
  AbortController AbortSignal Blob ByteLengthQueuingStrategy CompressionStream CountQueuingStrategy Crypto CryptoKey
  CustomEvent DOMException DecompressionStream ErrorEvent Event EventTarget File FormData Headers MessageChannel
  MessageEvent MessagePort Performance PerformanceEntry PerformanceMark PerformanceMeasure PromiseRejectionEvent
  ReadableByteStreamController ReadableStream ReadableStreamBYOBReader ReadableStreamBYOBRequest
  ReadableStreamDefaultController ReadableStreamDefaultReader Request Response SubtleCrypto TextDecoder
  TextDecoderStream TextEncoder TextEncoderStream TransformStream TransformStreamDefaultController URL URLPattern
  URLSearchParams WebAssembly WritableStream WritableStreamDefaultController WritableStreamDefaultWriter
  addEventListener atob btoa clearImmediate clearInterval clearTimeout console crypto dispatchEvent performance
  queueMicrotask removeEventListener reportError self setImmediate setInterval setTimeout structuredClone
`);

/** The language's own globals, as ECMA-262 and 402 list them. */
const LANGUAGE = words(`
  AggregateError Array ArrayBuffer AsyncDisposableStack Atomics BigInt BigInt64Array BigUint64Array Boolean DataView
  Date DisposableStack Error EvalError FinalizationRegistry Float16Array Float32Array Float64Array Function Infinity
  Int16Array Int32Array Int8Array Intl Iterator JSON Map Math NaN Number Object Promise Proxy RangeError
  ReferenceError Reflect RegExp Set SharedArrayBuffer String SuppressedError Symbol SyntaxError Temporal TypeError
  URIError Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakRef WeakSet decodeURI decodeURIComponent
  encodeURI encodeURIComponent escape eval globalThis isFinite isNaN parseFloat parseInt undefined unescape
`);

/** What isolate_main.ts has taken from the engine. */
export interface Engine extends HeapGauge {
  /** Ends this isolate. */
  exit(): never;
  /** The next lane that a program was told of; undefined when there is none. */
  receiveLane(): LaneNews | undefined;
  /** What the kernel says, for who does not get to the event loop any more; undefined when it has said nothing. */
  receiveControl(): unknown;
}

/** Runs the plugin. Resolves when it serves, or its failure has been told. */
export async function runIsolate(
  { spec, port, files, control, beat, memoryMb, budget }: IsolateData,
  { exit, heapFull, heap }: Engine,
): Promise<void> {
  const post = control.postMessage.bind(control);
  const tell = (message: FromPlugin) => post(message);
  const log = (text: string) => tell({ t: "log", text: String(text) });
  const transport = ringTransport(port, { budget, turn, monotonic: hostClock.monotonic });
  const heart = makeHeart({ words: beat, memoryMb, doorbell: transport.doorbell, tell, heapFull, heap });
  const die = (thrown: unknown) => tell({ t: "died", error: errorText(thrown) });
  addEventListener("unhandledrejection", (e) => (e.preventDefault(), die(e.reason)));
  addEventListener("error", (e) => (e.preventDefault(), die(e.error)));
  let running: Running | undefined;
  const lanes = new Map<number, LaneServer>();
  control.onmessage = ({ data }) => {
    if (data.t === "beat") heart();
    else if (data === "stop" && running) stop(running);
    else if (typeof data === "string" || !running) exit();
    else obey(data, running);
  };
  confineGlobals(log);
  try {
    const granted = files && ringTransport(files, { doorbell: transport.doorbell });
    const client = granted && await Client.connect(granted, { clock: hostClock });
    running = await runPlugin(spec, { transport, log, files: client });
    tell({ t: "up" });
  } catch (e) {
    tell({ t: "fail", error: errorText(e) });
  }

  function obey(message: Exclude<ToPlugin, { t: "beat" }>, { fids }: Running): void {
    if (message.t === "spin") return void (transport.doorbell.budget.spin = message.looks);
    if (message.t === "grant") {
      return tell({ t: "granted", n: message.n, ok: lanes.get(message.lane)?.grant(message.fid) ?? false });
    }
    const ends = ringTransport(message.port, { doorbell: transport.doorbell }), server = new LaneServer(ends, fids!);
    lanes.set(message.lane, server);
    server.run().catch((e) => log(`a lane ended: ${errorText(e).text}`)).finally(() => lanes.delete(message.lane));
  }

  async function stop(running: Running): Promise<void> {
    try {
      await running.stop();
    } catch (e) {
      log(`while stopping: ${errorText(e).text}`);
    }
    // The kernel ends the transport, and knows what to say to those whose requests are under way.
    tell({ t: "stopped" });
  }
}

/** Leaves the language, and what of the web reaches nothing. */
export function confineGlobals(log: (text: string) => void): void {
  for (let scope: object = globalThis; scope !== Object.prototype; scope = Object.getPrototypeOf(scope)) {
    for (const name of Object.getOwnPropertyNames(scope)) {
      if (!KEPT.has(name) && !LANGUAGE.has(name) && name !== "constructor") block(globalThis, name);
    }
  }
  const line = (...parts: unknown[]) => log(format(...parts));
  globalThis.console = { log: line, info: line, warn: line, error: line, debug: line } as Console;
}

/** Removes a property, or makes it undefined for good where it can not be removed. */
function block(object: object, name: string): void {
  if (Reflect.deleteProperty(object, name) && !(name in object)) return;
  Reflect.defineProperty(object, name, { value: undefined, configurable: false, writable: false });
}

function words(text: string): Set<string> {
  return new Set(text.trim().split(/\s+/));
}
