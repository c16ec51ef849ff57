/**
 * What the tests of a saved state share: stacks whose frames go by files, and traffic that knows every byte it expects.
 *
 * Layer: plugins/ip, tests only; state_worker_fixture.ts runs the same in an isolate of its own.
 */

import assert from "node:assert/strict";
import { hostClock } from "../../core/host/clock.ts";
import { turn } from "../../core/host/turn.ts";
import { toErr } from "../../core/err.ts";
import { Files, type OpenFile } from "../../core/plugin/testing.ts";
import { ORDWR } from "../../core/p9/types.ts";
import { IpDev } from "./dev.ts";
import { type SavedServed, ServedStack } from "./served.ts";

const GLENDA = { name: "glenda", uid: 1000, gid: 1000 };

/** A stack with the address 10.0.0.N, its frames in `ipifc/1/data`. */
export function makeStack(n: number, saved?: SavedServed): { served: ServedStack; files: Files } {
  const random = (bytes: Uint8Array) => void crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>);
  const around = { clock: hostClock, turn, random, log: console.error, hostowner: GLENDA.name };
  const options = { number: 0, owner: "ip", netdir: "/net", hostname: `node${n}`, ndb: "", kernel: undefined };
  const served = new ServedStack(around, options, saved);
  if (saved === undefined) served.configure({ device: "wire", address: `10.0.0.${n}/24` });
  const dev = new IpDev({
    name: "ip",
    hostowner: GLENDA.name,
    clock: hostClock,
    log: console.error,
    tree: () => served,
  });
  return { served, files: new Files(dev, GLENDA) };
}

/** Gives what a stack sends to `deliver`, until it is stopped. */
export async function pump(files: Files, deliver: (frames: Uint8Array) => unknown, signal: AbortSignal): Promise<void> {
  const data = await files.open("ipifc/1/data", ORDWR);
  try {
    for (;;) await deliver(await data.readBytes(1 << 20, signal));
  } catch (thrown) {
    if (toErr(thrown).code !== "EINTR") throw thrown;
  }
}

/** How far a conversation has come. */
export interface Progress {
  /** Its directory. */
  dir: string;
  /** Which bytes it sends; the other side expects these. */
  sends: number;
  expects: number;
  written: number;
  read: number;
}

/** Sends and checks bytes on many conversations, as long as nothing has to wait. */
export class Traffic {
  readonly #files = new Map<string, OpenFile>();

  constructor(readonly files: Files, readonly progress: Progress[], readonly total: number) {}

  /** Goes on; true when all is sent and has come. */
  async step(): Promise<boolean> {
    for (const each of this.progress) {
      const data = this.#files.get(each.dir) ?? await this.files.open(`${each.dir}/data`, ORDWR);
      this.#files.set(each.dir, data);
      await this.#write(data, each);
      await this.#read(data, each);
    }
    return this.progress.every(({ written, read }) => written === this.total && read === this.total);
  }

  async #write(data: OpenFile, it: Progress): Promise<void> {
    while (it.written < this.total) {
      const bytes = pattern(it.sends, it.written, Math.min(8000, this.total - it.written));
      const count = await unlessBusy(() => data.writeSome(bytes));
      if (count === undefined) return;
      it.written += count;
    }
  }

  async #read(data: OpenFile, it: Progress): Promise<void> {
    while (it.read < this.total) {
      const bytes = await unlessBusy(() => data.readBytes(50_000));
      if (bytes === undefined) return;
      assert.notEqual(bytes.length, 0, `${it.dir} ended after ${it.read} bytes`);
      const wanted = pattern(it.expects, it.read, bytes.length),
        wrong = bytes.findIndex((byte, i) => byte !== wanted[i]);
      assert.equal(wrong, -1, `${it.dir} at byte ${it.read + wrong}`);
      it.read += bytes.length;
    }
  }
}

/** Bytes that come again after PERIOD of them, and every stream's begin elsewhere. */
const PERIOD = 65_536, MAX_COUNT = 65_536;
const TABLE = Uint8Array.from({ length: PERIOD + MAX_COUNT }, (_, i) => i * 13 + (i >> 8));

/** Bytes [from, from + count) of stream `n`. */
function pattern(n: number, from: number, count: number): Uint8Array {
  const at = (from + n * 7919) % PERIOD;
  return TABLE.subarray(at, at + count);
}

async function unlessBusy<T>(fn: () => Promise<T>): Promise<T | undefined> {
  try {
    return await fn();
  } catch (thrown) {
    if (toErr(thrown).code !== "EAGAIN") throw thrown;
    return undefined;
  }
}
