/** Dedicates the last CPU of this process to one of its threads, keeps a process of its session off it, tells, and stays. */

import { hostClock } from "../clock.ts";
import { formatCpus } from "../../sched/cpulist.ts";
import { namesIn, ownGroup } from "../cpuset_groups.ts";
import { Placer } from "../placer.ts";
import { allowedCpus, gettid } from "../threads.ts";

const placer = new Placer(hostClock), all = allowedCpus(), cpu = all.at(-1)!, shared = all.slice(0, -1);
const other = new Deno.Command("sleep", { args: ["60"], stdout: "null" }).spawn();
placer.place({ shared, placements: [{ name: "us", tids: [gettid()], cpus: [cpu], dedicated: true, priority: "lc" }] });
await new Promise((resolve) => setTimeout(resolve, 100)); // the walls come a moment later
const status = placer.status(), shields = status.startsWith("isolation cpuset");
if (shields) placer.shield("session");
const groups = ["cpuset", "cpu"].flatMap((controller) => {
  const { base } = ownGroup(controller, {});
  return namesIn(base).filter((name) => name.includes(`-${Deno.pid}-`)).map((name) => `${base}/${name}`);
});
const before = formatCpus(all), shielded = formatCpus(allowedCpus(other.pid));
const told = { pid: Deno.pid, other: other.pid, status, shields, groups, before, shielded };
console.log(JSON.stringify({ ...told, shared: formatCpus(shared) }));
setInterval(() => {}, 1000);
