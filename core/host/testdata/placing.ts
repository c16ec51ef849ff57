/** Dedicates the last CPU of this process to one of its threads, and tells on standard output what came of it. */

import { hostClock } from "../clock.ts";
import { formatCpus } from "../../sched/cpulist.ts";
import { Placer } from "../placer.ts";
import { allowedCpus, gettid, pinThread, threads } from "../threads.ts";

const placer = new Placer(hostClock), all = allowedCpus(), cpu = all.at(-1)!, shared = all.slice(0, -1);
// A worker is the owner: its thread is the one that is new.
const before = new Set(threads().map((t) => t.tid));
const worker = new Worker("data:text/javascript,setInterval(() => {}, 1000); postMessage(0)", { type: "module" });
await new Promise((up) => worker.onmessage = up);
const owner = threads().find((t) => !before.has(t.tid) && t.name.startsWith("worker-"))!.tid;
const threadCpus = (tid: number) => formatCpus(allowedCpus(tid));
const masks = () => threads().map((t) => t.cpus.join()).filter((text, i, list) => list.indexOf(text) === i);
const masksBefore = masks();

const other = new Deno.Command("sleep", { args: ["60"], stdout: "null" }).spawn();
const otherCpus = () => threadCpus(other.pid);
const others = [otherCpus()];
const problems = placer.place({
  shared,
  placements: [{ name: "owner", tids: [owner], cpus: [cpu], dedicated: true, priority: "lc" }],
});
await new Promise((resolve) => setTimeout(resolve, 100)); // the walls come a moment later
const status = placer.status();
const placed = threads();
const groups = countGroups();
try {
  pinThread(gettid(), [cpu]); // as if it had been born there
} catch {
  // a cpuset does not even let it
}
await new Promise((resolve) => setTimeout(resolve, 1300));
const strays = threads().filter((t) => t.tid !== owner && t.cpus.includes(cpu)).map((t) => t.name);
others.push(otherCpus());
const walled = status.startsWith("isolation cpuset");
if (walled && Deno.uid() === 0) placer.shield("session");
others.push(otherCpus());
if (walled && Deno.uid() === 0) placer.shield("off");
others.push(otherCpus());
if (walled && Deno.uid() === 0) placer.shield("session");
placer.place({
  shared: all,
  placements: [{ name: "owner", tids: [owner], cpus: all, dedicated: false, priority: "lc" }],
});
await new Promise((resolve) => setTimeout(resolve, 100));
others.push(otherCpus());
other.kill("SIGKILL");
await other.status;
const groupsAfter = countGroups();
const after = masks();
placer.close();
console.log(JSON.stringify({
  cpu,
  problems,
  status,
  groups,
  groupsAfter,
  strays,
  before: masksBefore,
  after,
  owner: placed.find((t) => t.tid === owner)?.cpus,
  shield: others,
  shared: formatCpus(shared),
  others: placed.filter((t) => t.tid !== owner).map(({ name, cpus }) => ({ name, cpus })),
}));
Deno.exit(0);

/** Our cgroups of version 1 that own cores. */
function countGroups(): number {
  const path = /^\d+:[^:]*cpuset[^:]*:(.*)$/m.exec(Deno.readTextFileSync("/proc/self/cgroup"))?.[1] ?? "";
  if (path === "") return 0;
  const folder = `/sys/fs/cgroup/cpuset${path.replace(/\/ring9.*$/, "")}`;
  return [...Deno.readDirSync(folder)].filter((d) => d.name.startsWith(`ring9cores-${Deno.pid}-`)).length;
}
