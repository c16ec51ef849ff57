/**
 * An isolate that goes on from the state of a stack of another: the other half of state_test.ts.
 *
 * Layer: plugins/ip, tests only. It is sent the state and how far the traffic was, then frames; it sends frames, and at the
 * end that all bytes were right, or what was not.
 */

import { toErr } from "../../core/err.ts";
import type { OpenFile } from "../../core/plugin/testing.ts";
import { ORDWR } from "../../core/p9/types.ts";
import { makeStack, type Progress, pump, Traffic } from "./state_fixture.ts";
import type { SavedServed } from "./served.ts";

/** What it is sent first. */
export interface Begin {
  saved: SavedServed;
  progress: Progress[];
  total: number;
}

/** What it sends. */
export type Said = { ready: true } | { frames: Uint8Array } | { done: true } | { failed: string };

declare const self: DedicatedWorkerGlobalScope;
interface DedicatedWorkerGlobalScope {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: Said): void;
}

/** Where frames go, once there is a stack; earlier ones are lost, as on any wire. */
let link: OpenFile | undefined;

self.onmessage = ({ data }) => {
  if ("frames" in data) return void link?.writeBytes(data.frames);
  void run(data as Begin).then(() => self.postMessage({ done: true }), (thrown) => {
    self.postMessage({ failed: toErr(thrown).message });
  });
};

async function run({ saved, progress, total }: Begin): Promise<void> {
  const { files } = makeStack(1, saved);
  link = await files.open("ipifc/1/data", ORDWR);
  void pump(files, (frames) => self.postMessage({ frames }), new AbortController().signal);
  const traffic = new Traffic(files, progress, total);
  while (!await traffic.step()) await new Promise((resolve) => setTimeout(resolve, 1));
}

self.postMessage({ ready: true });
