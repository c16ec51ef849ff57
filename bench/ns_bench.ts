/**
 * What a name space costs above the Dev itself, and what the mount driver costs, called directly: no socket.
 *
 * Run: deno task bench ns [--json]
 */

import { Req } from "../core/dev.ts";
import type { Chan, Dev } from "../core/dev.ts";
import { Export } from "../core/export.ts";
import { bootKernel } from "../core/kernel_testing.ts";
import { Mnt } from "../core/mnt.ts";
import { MAFTER } from "../core/mount.ts";
import type { Dialect } from "../core/p9/msg.ts";
import { Srv } from "../core/p9/srv.ts";
import { transportPair } from "../core/p9/transport_pair.ts";
import { type MaybePromise, ORDWR, OREAD } from "../core/p9/types.ts";
import ram from "../plugins/ram/mod.ts";
import { onOff, readFlags } from "./flags.ts";

const { json } = readFlags("ns", { json: onOff() });

const results: Record<string, number> = {};
const dst = new Uint8Array(4096);
const { kernel, init } = await bootKernel({
  plugins: { ram, ram2: ram },
  root: ["n/ram/", "dev/", "proc/"],
  binds: { "/n/ram": "#ram" },
});
const req = new Req(kernel.hostowner);
const fd = await init.create("/n/ram/file", ORDWR);
await init.write(fd, dst);
await init.close(await init.create("/n/ram/d", OREAD, 0x80000000 + 0o755));
await init.close(await init.create("/n/ram/d/e", OREAD, 0x80000000 + 0o755));
await init.close(await init.create("/n/ram/d/e/f", ORDWR));

/** What was answered at once. */
function now<T>(value: MaybePromise<T>): T {
  if (value instanceof Promise) throw new Error("was made to wait");
  return value;
}

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

function walkStatClunk(dev: Dev, from: Chan, names: string[]): void {
  const c = now(dev.walk(from, names, req)).chan!;
  dev.stat(c, req);
  dev.clunk(c);
}

const dev = kernel.device("ram")!, root = now(dev.attach(kernel.hostowner, "", req));
const files = new Export(init.pgrp);
const slash = await files.attach(kernel.hostowner, "", req),
  mounted = await files.attach(kernel.hostowner, "/n/ram", req);
const inside = now(files.walk(mounted as never, ["d"], req)).chan!;
const direct = now(dev.walk(root, ["d"], req)).chan!;
measure("ram itself: walk of two names, stat, clunk", 300_000, () => walkStatClunk(dev, direct, ["e", "f"]));
measure("through a name space, below a mount point", 300_000, () => walkStatClunk(files, inside, ["e", "f"]));
measure("from / over one mount point, five names", 300_000, () => {
  walkStatClunk(files, slash, ["n", "ram", "d", "e", "f"]);
});
await init.bind("#ram2", "/n/ram", MAFTER);
measure("the same over a union of two, found in the first", 300_000, () => {
  walkStatClunk(files, slash, ["n", "ram", "d", "e", "f"]);
});
const open = now(dev.open(now(dev.walk(root, ["file"], req)).chan!, OREAD, req));
const nsOpen = now(files.open(now(files.walk(mounted as never, ["file"], req)).chan as never, OREAD, req));
measure("ram itself: read of 4 KiB", 1_000_000, () => void dev.read(open, dst, 0, req));
measure("through a name space", 1_000_000, () => void files.read(nsOpen as never, dst, 0, req));

/** Best of five runs: nanoseconds for one `op`, 16 of them under way. */
async function pipelined(name: string, calls: number, op: () => Promise<unknown>): Promise<void> {
  let best = Infinity;
  for (let run = 0; run < 5; run++) {
    const start = performance.now();
    for (let i = 0; i < calls; i += 16) await Promise.all(Array.from({ length: 16 }, op));
    best = Math.min(best, (performance.now() - start) * 1e6 / calls);
  }
  results[name] = Math.round(best);
}

for (const dialect of ["9P2000", "9P2000.L.r9"] satisfies Dialect[]) {
  const [here, there] = transportPair();
  const srv = new Srv(dev);
  void srv.serve(there);
  const mnt = await Mnt.connect(here, { dialects: [dialect] });
  const top = await mnt.attach(kernel.hostowner, "", req);
  const c = (await mnt.walk(top, ["d"], req)).chan!;
  const file = await mnt.open((await mnt.walk(top, ["file"], req)).chan!, OREAD, req);
  await pipelined(`mount driver and server, ${dialect}: walk of two names, stat, clunk`, 32_000, async () => {
    const found = (await mnt.walk(c, ["e", "f"], new Req(kernel.hostowner))).chan!;
    await mnt.stat(found, new Req(kernel.hostowner));
    mnt.clunk(found);
  });
  await pipelined(`mount driver and server, ${dialect}: read of 4 KiB`, 64_000, () => {
    return mnt.read(file, dst, 0, new Req(kernel.hostowner));
  });
  await mnt.close();
}

if (json) console.log(JSON.stringify({ name: "ns", unit: "ns", results }));
else for (const [name, ns] of Object.entries(results)) console.log(`${String(ns).padStart(8)} ns  ${name}`);
