/**
 * A node for tests: a warden, and a kernel that does what it is told on standard input (kernel.ts).
 *
 * Before it is locked the main thread opens the C library; what it can still do afterwards is printed as one line.
 */

import { runWarden } from "../warden.ts";

const OPEN = { open: { parameters: ["buffer", "i32"], result: "i32" } } as const;
const OTHERS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  kill: { parameters: ["i32", "i32"], result: "i32" },
} as const;

const granted = Deno.permissions.querySync({ name: "ffi" }).state === "granted";
const libc = granted ? Deno.dlopen("libc.so.6", { ...OPEN, ...OTHERS }).symbols : undefined;
const path = new TextEncoder().encode("/etc/hostname\0");

await runWarden(new URL("./kernel.ts", import.meta.url), { greeting: "from the front door" });

const can: Record<string, boolean> = {
  "Deno.readTextFile": works(() => Deno.readTextFileSync("/etc/hostname")),
  "Deno.dlopen": works(() => Deno.dlopen("libc.so.6", {})),
  "Deno.Command": works(() => new Deno.Command("true").outputSync()),
};
if (libc) {
  can["open(2)"] = libc.open(path, 0) >= 0;
  can["socket(2)"] = libc.socket(2, 1, 0) >= 0;
  can["kill(2)"] = libc.kill(Deno.pid, 0) >= 0;
}
console.log(JSON.stringify({ main: can }));

function works(fn: () => unknown): boolean {
  try {
    fn();
    return true;
  } catch {
    return false;
  }
}
