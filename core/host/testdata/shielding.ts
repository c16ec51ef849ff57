/** Dedicates the last CPU of this process to one of its threads, keeps a process of its session off it, tells, and stays. */

import { hostClock } from "../clock.ts";
import { formatCpus } from "../../sched/cpulist.ts";
import { Placer } from "../placer.ts";
import { allowedCpus, gettid } from "../threads.ts";

const placer = new Placer(hostClock), all = allowedCpus(), cpu = all.at(-1)!, shared = all.slice(0, -1);
const other = new Deno.Command("sleep", { args: ["60"], stdout: "null" }).spawn();
placer.place({ shared, placements: [{ name: "us", tids: [gettid()], cpus: [cpu], dedicated: true, priority: "lc" }] });
placer.shield("session");
const before = formatCpus(all), shielded = formatCpus(allowedCpus(other.pid));
console.log(JSON.stringify({ pid: Deno.pid, other: other.pid, before, shielded, shared: formatCpus(shared) }));
setInterval(() => {}, 1000);
