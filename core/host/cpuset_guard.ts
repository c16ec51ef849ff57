/**
 * Guard: puts back what a shield has moved when the node that asked for it has died, whatever it died of.
 *
 * Layer: core/host, below cpuset.ts. A shell of a session of its own, which waits at a pipe that the node holds open. When
 * that ends, it moves what is left in the node's groups to the group above and removes them. After an orderly end there is
 * nothing left to do.
 */

const SCRIPT = `trap '' HUP INT QUIT TERM
read -r _
base=$1 file=$2; shift 2
for group; do
  for pass in 1 2 3; do
    while read -r id; do echo "$id" >"$base/$file"; done <"$group/$file"
  done
  rmdir "$group"
done`;

/** See the head of this file. */
export class CpusetGuard {
  readonly #child: Deno.ChildProcess;

  /** What is in `groups` belongs into `base` once this process has gone; `file` is that in which threads stand. */
  constructor({ base, file, groups }: { base: string; file: string; groups: readonly string[] }) {
    this.#child = new Deno.Command("/bin/sh", {
      args: ["-c", SCRIPT, "ring9-guard", base, file, ...groups],
      env: {},
      clearEnv: true,
      detached: true,
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#child.unref();
  }

  /** All is put back: it may go. */
  async release(): Promise<void> {
    await this.#child.stdin.close().catch(() => {}); // it may have been killed
    await this.#child.status;
  }
}
