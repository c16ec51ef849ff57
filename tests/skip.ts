/**
 * Tests that need something of the host: skipped with the reason when it is not there, and never silently.
 *
 * Layer: tests. `deno task test` lists at its end what was skipped and why; a bare `deno test` prints it after each
 * file. A need is looked for once, when the test is registered.
 */

import { accessSync, appendFileSync, constants } from "node:fs";
import { join } from "node:path";
import { openAllCalls } from "../core/host/libc.ts";

/** Something that a test needs: why it is not there, or undefined when it is. */
export type Need = () => string | undefined;

/** To be root. */
export const root: Need = () => Deno.uid() === 0 ? undefined : "needs root";

/** To call the host by FFI. */
export const ffi: Need = () => granted("ffi") ? undefined : "needs --allow-ffi";

/** A program on the search path, or in the directories that only root's has. */
export function program(name: string): Need {
  return () => {
    const dirs = [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/sbin"];
    return dirs.some((dir) => accessible(join(dir, name), constants.X_OK)) ? undefined : `needs the program ${name}`;
  };
}

/** A device or other file that can be read and written. */
export function device(path: string): Need {
  return () => accessible(path, constants.R_OK | constants.W_OK) ? undefined : `needs ${path}`;
}

/** So many CPUs. */
export function cpus(count: number): Need {
  return () => navigator.hardwareConcurrency >= count ? undefined : `needs ${count} CPUs`;
}

/** A module of the kernel that is there, or can be loaded because its file is. */
export function kernelFile(path: string): Need {
  return () => accessible(path, constants.F_OK) ? undefined : `needs ${path} of the kernel`;
}

/** Why not all of `needs` are there; undefined when they are. */
export function missing(needs: readonly Need[]): string | undefined {
  const reasons = needs.map((need) => need()).filter((reason) => reason !== undefined);
  return reasons.length > 0 ? reasons.join(", ") : undefined;
}

/** What a test of this kind needs, and whatever else `Deno.test` takes. */
export interface InteropOptions extends Omit<Deno.TestDefinition, "name" | "fn" | "ignore"> {
  needs: readonly Need[];
}

/**
 * Registers a test that is skipped, with its reason, unless all of its needs are there.
 *
 * `interop("diod serves our client", { needs: [root, program("diod")] }, async () => { ... })`
 */
export function interop(
  name: string,
  { needs, ...rest }: InteropOptions,
  fn: (t: Deno.TestContext) => void | Promise<void>,
): void {
  const reason = missing(needs);
  if (reason !== undefined) noteSkipped(name, reason);
  else if (granted("ffi")) openAllCalls();
  Deno.test({ ...rest, name, ignore: reason !== undefined, fn });
}

/** Gives the reason of a test (or a step, `TEST > STEP`) that is ignored by other means. */
export function noteSkipped(name: string, reason: string): void {
  const list = Deno.env.get("RING9_SKIPS");
  if (list) appendFileSync(list, JSON.stringify({ name, reason, file: Deno.mainModule }) + "\n");
  else notes.push(`skipped: ${name}: ${reason}`);
}

const notes: string[] = [];
globalThis.addEventListener("unload", () => {
  for (const note of notes) console.log(note);
});

function granted(name: "ffi"): boolean {
  return Deno.permissions.querySync({ name }).state === "granted";
}

function accessible(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}
