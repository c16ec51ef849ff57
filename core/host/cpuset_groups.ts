/**
 * Cgroups of a node: where that of a controller lies, how groups below it are named, filled, and removed.
 *
 * Layer: core/host, below cpuset.ts and sched_weight.ts; over procfs.ts.
 *
 * What holds always: a group's name has the process's number, start time and name space of numbers, so that none of a
 * living node is taken for what a dead one has left. Whether one in another such name space lives can be told by root in the
 * first of them alone, who sees all; else what is its is left alone.
 *
 * See cgroups(7), pid_namespaces(7).
 */

import { toErr } from "../err.ts";
import { numbers, startTime } from "./procfs.ts";

/** Where the host's file systems are, for tests. */
export interface CgroupRoots {
  cgroup?: string;
  proc?: string;
}

/** The cgroup of a controller that this process is in. */
export interface OwnGroup {
  /** Its folder; empty when there is none. */
  readonly base: string;
  /** The folder that its hierarchy is mounted at. */
  readonly root: string;
  readonly v1: boolean;
  /** Why there is none. */
  readonly why: string;
}

/** The number of the name space that a host has from its start. */
const FIRST_SPACE = "4026531836";
/** How often the threads in a group are moved out of it before it is removed. */
const DISSOLVE_PASSES = 3;

/** The cgroup of `controller` that this process is in. */
export function ownGroup(controller: string, { cgroup = "/sys/fs/cgroup", proc = "/proc" }: CgroupRoots): OwnGroup {
  const none = (why: string) => ({ base: "", root: "", v1: false, why });
  let lines: string[];
  try {
    lines = Deno.readTextFileSync(`${proc}/self/cgroup`).split("\n");
  } catch (e) {
    return none(`no cgroups: ${toErr(e).message}`);
  }
  const paths = new Map(
    lines.map((line) => /^\d+:([^:]*):(.*)$/.exec(line)).filter((m) => m).map((m) => [m![1], m![2]]),
  );
  const v1 = [...paths].find(([controllers]) => controllers.split(",").includes(controller));
  if (v1) {
    const root = `${cgroup}/${controller}`, base = below(root, outer(v1[1]));
    return exists(`${base}/tasks`) ? { base, root, v1: true, why: "" } : none(`${base} is not mounted here`);
  }
  const root = cgroup, base = below(root, outer(paths.get("") ?? "/"));
  if (!exists(`${base}/cgroup.controllers`)) return none(`${base} is no cgroup`);
  const controllers = Deno.readTextFileSync(`${base}/cgroup.controllers`).split(/\s+/);
  return controllers.includes(controller)
    ? { base, root, v1: false, why: "" }
    : none(`${base} was not given the ${controller} controller`);
}

/** The folder of a path that /proc/PID/cgroup has. */
export function below(root: string, path: string): string {
  return `${root}${path}`.replace(/\/$/, "");
}

/** Who was started by one that a node's shield has moved is not to build in that node's group. */
function outer(path: string): string {
  return path.replace(/\/ring9(cores|shared|first)-[^/]*$/, "") || "/";
}

/** What the names of this process's groups end with. */
export function groupId(proc = "/proc"): string {
  return `${Deno.pid}-${startTime(Deno.pid, proc)}-${pidSpace(proc)}`;
}

/** Groups below `base` whose names begin with one of `prefixes`, and whose node has gone. */
export function leftovers(base: string, prefixes: readonly string[], proc = "/proc"): string[] {
  return namesIn(base).filter((name) => prefixes.some((prefix) => name.startsWith(prefix)) && isLeft(name, proc));
}

/** Whether what has this name, which ends with a `groupId`, is that of a node that has gone. */
export function isLeft(name: string, proc = "/proc"): boolean {
  const [, pid, start, space] = /-(\d+)-(\d+)-(\d+)$/.exec(name) ?? [];
  if (pid === undefined) return false;
  const ours = pidSpace(proc), seesAll = ours === FIRST_SPACE && Deno.uid() === 0;
  if (space === ours) return startTime(Number(pid), proc) !== start;
  return seesAll && !numbersIn(proc).some((other) => pidSpace(proc, other) === space);
}

/** What is in a folder; nothing where it may not be looked at, or is not there. */
export function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch {
    return [];
  }
}

/** Moves the threads of a group to another and removes it. `file` is that in which they stand. */
export function dissolve(group: string, to: string, file: string): void {
  if (!exists(group)) return;
  for (let pass = 0; pass < DISSOLVE_PASSES; pass++) {
    for (const tid of numbers(`${group}/${file}`)) join(`${to}/${file}`, tid); // one may start others meanwhile
  }
  try {
    Deno.removeSync(group);
  } catch {
    // a thread that ends is still in it: the next boot removes it
  }
}

/** Puts a thread or a process into a group. One that has ended is none. */
export function join(file: string, id: number): void {
  try {
    write(file, String(id));
  } catch (e) {
    if (exists(`/proc/${id}`)) throw e; // else it has ended meanwhile
  }
}

/** Writes a file that is there. */
export function write(path: string, text: string): void {
  Deno.writeTextFileSync(path, text, { create: false });
}

/** Whether a file is there, and may be looked at. */
export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** The processes that can be seen. */
function numbersIn(proc: string): string[] {
  return namesIn(proc).filter((name) => /^\d+$/.test(name));
}

/** The number of the name space that a process's number is of; 0 where it can not be told. */
function pidSpace(proc: string, pid = "self"): string {
  try {
    return /\[(\d+)\]/.exec(Deno.readLinkSync(`${proc}/${pid}/ns/pid`))?.[1] ?? "0";
  } catch {
    return "0";
  }
}
