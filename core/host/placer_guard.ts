/**
 * Guard: undoes what a node has done to its host for the sake of cores, when it dies without having done so: moves what is in
 * its cgroups to where it was, removes them (a partition would keep its cores from the host), and puts interrupts back.
 *
 * Layer: core/host, below placer.ts. A shell in a session of its own, which waits at a pipe that the node holds open. After
 * an orderly end it finds nothing to do. Where no process may be started there is none, and the next node does it.
 */

/** A cgroup: where its threads belong once it is gone, and in which file they stand. */
export interface GuardedGroup {
  readonly group: string;
  readonly base: string;
  readonly file: string;
}

/** A file, and what it has to read. */
export interface GuardedFile {
  readonly path: string;
  readonly text: string;
}

/** What is to be undone. */
export interface Guarded {
  /** Where interrupts are, and the note of where they were. */
  readonly irq: { folder: string; note: string };
  readonly groups: readonly GuardedGroup[];
  /** Written after the groups were removed. */
  readonly files: readonly GuardedFile[];
}

const SCRIPT = `trap '' HUP INT QUIT TERM
read -r _
folder=$1 note=$2 groups=$3; shift 3
[ ! -f "$note" ] || while read -r irq cpus; do echo "$cpus" >"$folder/$irq/smp_affinity_list"; done <"$note"
rm -f "$note"
while [ "$groups" -gt 0 ]; do
  for pass in 1 2 3; do
    [ ! -f "$1/$3" ] || while read -r id; do echo "$id" >"$2/$3"; done <"$1/$3"
  done
  [ ! -d "$1" ] || rmdir "$1"
  shift 3
  groups=$((groups - 1))
done
while [ $# -ge 2 ]; do
  printf %s "$2" >"$1"
  shift 2
done`;

/** See the head of this file. */
export class Guard {
  readonly #child: Deno.ChildProcess | undefined;

  constructor({ irq, groups, files }: Guarded) {
    const triples = groups.flatMap(({ group, base, file }) => [group, base, file]);
    const args = [irq.folder, irq.note, String(groups.length), ...triples, ...files.flatMap((f) => [f.path, f.text])];
    try {
      this.#child = new Deno.Command("/bin/sh", {
        args: ["-c", SCRIPT, "ring9-guard", ...args],
        clearEnv: true,
        detached: true,
        stdin: "piped",
        stdout: "null",
        stderr: "null",
      }).spawn();
      this.#child.unref();
    } catch {
      // no shell, or it may not be started
    }
  }

  /** All is undone: it may go. */
  async release(): Promise<void> {
    await this.#child?.stdin.close().catch(() => {}); // it may have been killed
    await this.#child?.status;
  }
}
