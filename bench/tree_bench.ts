/**
 * What a described tree costs, called directly: no codec, no socket.
 *
 * Run: deno task bench tree [--json]
 */

import { Req } from "../core/dev.ts";
import { ORDWR, OREAD } from "../core/p9/types.ts";
import { ctl, dynamic, type MaybePromise, tree } from "../core/plugin/author.ts";
import { onOff, readFlags } from "./flags.ts";

const { json } = readFlags("tree", { json: onOff() });

const user = { name: "glenda", uid: 1000, gid: 1000 }, req = new Req(user);
const dev = tree({
  a: { b: { text: "hello, world\n", made: () => "hello, world\n" } },
  users: dynamic({ list: () => ["0", "1"], get: (name) => ({ id: name }) }),
  ctl: ctl({ "rate hz:1..1000": () => {} }),
}, { hostowner: "glenda" });
const root = dev.attach(user, "");
const dst = new Uint8Array(4096), command = new TextEncoder().encode("rate 5\n");
const results: Record<string, number> = {};

/** Best of seven runs: nanoseconds for one call of `fn`. */
function measure(name: string, calls: number, fn: () => void): void {
  let best = Infinity;
  for (let run = 0; run < 7; run++) {
    const start = performance.now();
    for (let i = 0; i < calls; i++) fn();
    best = Math.min(best, (performance.now() - start) * 1e6 / calls);
  }
  results[name] = Math.round(best);
}

/** What was answered at once. */
function now<T>(value: MaybePromise<T>): T {
  if (value instanceof Promise) throw new Error("was made to wait");
  return value;
}

const walk = (names: string[]) => now(dev.walk(root, names, req)).chan!;
const text = now(dev.open(walk(["a", "b", "text"]), OREAD, req));
const control = now(dev.open(walk(["ctl"]), ORDWR, req));

measure("walk of three names, stat, clunk", 200_000, () => {
  const c = walk(["a", "b", "text"]);
  dev.stat(c);
  dev.clunk(c);
});
measure("walk into a computed directory, clunk", 200_000, () => void dev.clunk(walk(["users", "1", "id"])));
measure("read of an open value", 1_000_000, () => void dev.read(text, dst, 0, req));
measure("walk, open, read, clunk of a computed file", 200_000, () => {
  const c = now(dev.open(walk(["a", "b", "made"]), OREAD, req));
  dev.read(c, dst, 0, req);
  dev.clunk(c);
});
measure("a ctl command", 200_000, () => void dev.write(control, command, 0, req));

if (json) console.log(JSON.stringify({ name: "tree", unit: "ns", results }));
else for (const [name, ns] of Object.entries(results)) console.log(`${String(ns).padStart(8)} ns  ${name}`);
