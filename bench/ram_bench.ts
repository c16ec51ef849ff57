/**
 * What the ram tree costs, called directly: no codec, no socket.
 *
 * Run: deno run -A bench/ram_bench.ts [--json]
 */

import { Req } from "../core/dev.ts";
import { NONUNAME, ORDWR, OREAD } from "../core/p9/types.ts";
import { RamDev, ramOptions } from "../plugins/ram/mod.ts";
import { onOff, readFlags } from "./flags.ts";

const { json } = readFlags("ram", { json: onOff() });

const KIB = 1024, MIB = 1024 * KIB;
const clock = {
  now: () => performance.timeOrigin + performance.now(),
  monotonic: () => performance.now(),
  after: () => () => {},
};
const user = { name: "glenda", uid: 1000, gid: 1000 }, req = new Req(user);
const dev = new RamDev("ram", clock, "glenda", ramOptions({}));
const root = dev.attach(user, "");
const results: Record<string, number> = {};

/** Best of seven runs: nanoseconds for one call of `fn`. */
function measure(name: string, calls: number, fn: (i: number) => void): number {
  let best = Infinity;
  for (let run = 0; run < 7; run++) {
    const start = performance.now();
    for (let i = 0; i < calls; i++) fn(i);
    best = Math.min(best, (performance.now() - start) * 1e6 / calls);
  }
  results[name] = Math.round(best * 10) / 10;
  return best;
}

function make(name: string, bytes: number): void {
  const c = dev.create(
    dev.walk(root, [], req).chan!,
    { name, mode: ORDWR, perm: 0o666, mask: true, ngid: NONUNAME },
    req,
  );
  const block = new Uint8Array(MIB).fill(7);
  for (let at = 0; at < bytes; at += MIB) dev.write(c, block.subarray(0, Math.min(MIB, bytes - at)), at, req);
  dev.clunk(c);
}

function openFile(name: string, mode: number) {
  return dev.open(dev.walk(root, [name], req).chan!, mode, req);
}

const FILES = 1000;
for (let i = 0; i < FILES; i++) make(`file${i}`, 100);
const names = Array.from({ length: FILES }, (_, i) => [`file${i}`]);
make("big", 256 * MIB);

measure("walk+clunk", 300_000, (i) => dev.clunk(dev.walk(root, names[i % FILES], req).chan!));
const statted = dev.walk(root, ["file1"], req).chan!;
measure("stat", 1_000_000, () => dev.stat(statted));
measure("walk+stat+clunk", 300_000, (i) => {
  const c = dev.walk(root, names[i % FILES], req).chan!;
  dev.stat(c);
  dev.clunk(c);
});
measure(
  "walk+open+clunk",
  300_000,
  (i) => dev.clunk(dev.open(dev.walk(root, names[i % FILES], req).chan!, OREAD, req)),
);

const big = openFile("big", ORDWR), page = new Uint8Array(4 * KIB), mega = new Uint8Array(MIB);
measure("read 100 B", 1_000_000, ((c) => () => dev.read(c, page, 0))(openFile("file1", OREAD)));
measure("read 4 KiB, random", 300_000, (i) => dev.read(big, page, (i * 40503 & 0xffff) * 4 * KIB));
measure(
  "copy 4 KiB alone",
  300_000,
  ((from) => (i: number) => {
    const at = (i * 40503 & 0xff) * 4 * KIB;
    page.set(from.subarray(at, at + 4 * KIB));
  })(new Uint8Array(MIB)),
);
measure("write 4 KiB, random", 300_000, (i) => dev.write(big, page, (i * 40503 & 0xffff) * 4 * KIB, req));
const readMib = measure("read 1 MiB, sequential", 256, (i) => dev.read(big, mega, i * MIB));
const writeMib = measure("write 1 MiB, sequential", 256, (i) => dev.write(big, mega, i * MIB, req));
results["read 1 MiB, GB/s"] = Math.round(MIB / readMib * 100) / 100;
results["write 1 MiB, GB/s"] = Math.round(MIB / writeMib * 100) / 100;

const dir = dev.open(dev.walk(root, [], req).chan!, OREAD, req);
measure("readdir of 1,001 entries, 64 KiB a call", 200, () => {
  let cookie: number | bigint = 0;
  for (;;) {
    const page = dev.readdir(dir, cookie, 64 * KIB, false);
    if (page.length === 0) return;
    cookie = page[page.length - 1].next;
  }
});
measure("create+remove", 100_000, () => {
  const c = dev.create(dev.walk(root, [], req).chan!, {
    name: "x",
    mode: ORDWR,
    perm: 0o666,
    mask: true,
    ngid: NONUNAME,
  }, req);
  dev.remove(c, req);
  dev.clunk(c);
});

if (json) console.log(JSON.stringify(results));
else for (const [name, value] of Object.entries(results)) console.log(name.padEnd(44), String(value).padStart(12));
