/**
 * Processes of this host, as /proc shows them: when one was started, its threads and those of all that it started, whose it is.
 *
 * Layer: core/host, a leaf. One that has gone, or may not be looked at, has nothing.
 *
 * See proc(5): stat, task, children.
 */

/** What is known of a process. */
export interface ProcessRow {
  readonly pid: number;
  /** Its session, as setsid(2) makes one; 0 of the host kernel's own. */
  readonly session: number;
  readonly uid: number;
  /** A thread of the host's kernel. */
  readonly kernel: boolean;
}

/** Flag of a kernel thread in `stat`. */
const PF_KTHREAD = 0x200000;
/** Fields of `stat` behind the name. */
const SESSION = 3, FLAGS = 6, START = 19;

/** When a process was started, in ticks since the host's boot; "" when there is none of that number. */
export function startTime(pid: number, proc = "/proc"): string {
  return statFields(pid, proc)[START] ?? "";
}

/** One process; undefined when it has gone. */
export function processRow(pid: number): ProcessRow | undefined {
  const fields = statFields(pid, "/proc");
  if (fields.length === 0) return undefined;
  try {
    const uid = Deno.statSync(`/proc/${pid}`).uid ?? -1;
    return { pid, session: Number(fields[SESSION]), uid, kernel: (Number(fields[FLAGS]) & PF_KTHREAD) !== 0 };
  } catch {
    return undefined; // it has gone meanwhile
  }
}

/** The threads of a process and of all that it has started and that are still its children. */
export function treeThreads(pid: number): number[] {
  const tids = threadsOf(pid);
  const children = tids.flatMap((tid) => numbers(`/proc/${pid}/task/${tid}/children`));
  return [...tids, ...children.flatMap(treeThreads)];
}

/** Numbers in a file of /proc or of a cgroup, split by white space. */
export function numbers(path: string): number[] {
  return textOf(path).split(/\s+/).filter((word) => word !== "").map(Number);
}

/** A file's text; empty when it is not there, or may not be read. */
export function textOf(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}

function threadsOf(pid: number): number[] {
  try {
    return [...Deno.readDirSync(`/proc/${pid}/task`)].map((entry) => Number(entry.name));
  } catch {
    return []; // it has ended
  }
}

function statFields(pid: number, proc: string): string[] {
  const stat = textOf(`${proc}/${pid}/stat`);
  return stat === "" ? [] : stat.slice(stat.lastIndexOf(")") + 2).trim().split(" ");
}
