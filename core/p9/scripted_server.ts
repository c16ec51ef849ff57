/**
 * ScriptedServer: the other end of a client under test, which answers as the test says: rightly, wrongly, late, twice,
 * or in raw bytes.
 *
 * Layer: core/p9, for tests only. It frames and decodes requests with the codec, and keeps no fids.
 */

import { decodeT, encode } from "./codec.ts";
import { Writer } from "./cursor.ts";
import { Input } from "./input.ts";
import * as m from "./msg.ts";
import type { Dialect, Rmsg, Tmsg } from "./msg.ts";
import type { Transport } from "./transport.ts";
import { transportPair } from "./transport_pair.ts";

/** What a request is answered with: messages, raw bytes, or nothing. Its tag is set where a message has -1. */
export type Answer = Rmsg | Uint8Array | null | (Rmsg | Uint8Array)[];

/** Answers a request; undefined leaves it to the server's manners (version and attach, Rerror for the rest). */
export type Script = (msg: Tmsg, server: ScriptedServer) => Answer | undefined;

/** A tag to be filled in with the request's. */
export const SAME_TAG = -1;

/** One scripted connection. */
export class ScriptedServer {
  /** The client's end. */
  readonly transport: Transport;
  /** Every request that came, in order. */
  readonly requests: Tmsg[] = [];
  /** Socket reads that brought at least one request, by how many they brought. */
  readonly batches: number[] = [];
  dialect = m.dialectTraits("9P2000.L")!;
  msize: number;
  #end: Transport;
  #script: Script;
  #waiting: (() => void)[] = [];

  constructor(script: Script, options: { dialect?: Dialect; msize?: number; capacity?: number } = {}) {
    [this.transport, this.#end] = transportPair({ remote: "scripted", capacity: options.capacity });
    this.dialect = m.dialectTraits(options.dialect ?? "9P2000.L")!;
    this.msize = options.msize ?? 65536;
    this.#script = script;
    this.#serve();
  }

  /** The first request of a type, when it has come. */
  async seen(type: number): Promise<Tmsg> {
    for (;;) {
      const msg = this.requests.find((msg) => msg.type === type);
      if (msg) return msg;
      await new Promise<void>((wake) => this.#waiting.push(wake));
    }
  }

  /** Sends a message or raw bytes of its own accord. */
  async send(answer: Answer, tag = 0): Promise<void> {
    const w = new Writer(256, 1 << 26);
    for (const item of Array.isArray(answer) ? answer : [answer]) {
      if (item instanceof Uint8Array) w.data(item);
      else if (item) encode(w, item.tag === SAME_TAG ? { ...item, tag } : item, this.dialect);
    }
    if (w.at > 0) await this.#end.write(w.bytes.subarray(0, w.at));
  }

  /** Ends the connection. */
  close(): void {
    this.#end.close();
  }

  async #serve(): Promise<void> {
    const input = new Input(this.#end, 1 << 26);
    try {
      while (await input.fill()) {
        const before = this.requests.length;
        while (input.next()) {
          const msg = own(decodeT(input.reader, this.dialect));
          this.requests.push(msg);
          for (const wake of this.#waiting.splice(0)) wake();
          const answer = this.#script(msg, this);
          await this.send(answer === undefined ? this.#manners(msg) : answer, msg.tag);
        }
        if (this.requests.length > before) this.batches.push(this.requests.length - before);
      }
    } catch {
      this.#end.close(); // the client has gone
    }
  }

  #manners(msg: Tmsg): Rmsg {
    const { tag } = msg, qid = { type: 0x80, vers: 0, path: 1 };
    switch (msg.type) {
      case m.Tversion: {
        const version = msg.version === this.dialect.name ? msg.version : "unknown";
        return { type: m.Rversion, tag, msize: Math.min(msg.msize, this.msize), version };
      }
      case m.Tattach:
        return { type: m.Rattach, tag, qid };
      case m.Tclunk:
        return { type: m.Rclunk, tag };
      case m.Tflush:
        return { type: m.Rflush, tag };
      case m.Twalk:
        return { type: m.Rwalk, tag, qids: msg.names.map(() => ({ type: 0, vers: 0, path: 2 })) };
      case m.Tlopen:
        return { type: m.Rlopen, tag, qid: { type: 0, vers: 0, path: 2 }, iounit: 0 };
      default:
        return this.dialect.lerror
          ? { type: m.Rlerror, tag, errno: 95 }
          : { type: m.Rerror, tag, ename: "Operation not supported", errno: 95 };
    }
  }
}

/** The request with bytes of its own: the input's buffer is used again. */
function own(msg: Tmsg): Tmsg {
  return msg.type === m.Twrite ? { ...msg, data: msg.data.slice() } : msg;
}
