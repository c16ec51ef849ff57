/**
 * A network namespace of a test's own: interfaces, addresses and traffic that nobody else sees.
 *
 * Layer: tests. Needs root and FFI. The thread that runs the test is moved, and moved back; programs that it starts,
 * sockets and devices that it opens meanwhile belong to the namespace, which goes with the last of them.
 */

import { libcCalls } from "../core/host/libc.ts";
import { interop, type Need } from "./skip.ts";

const CLONE_NEWNET = 0x40000000;

/** To be root, with Linux's TUN driver. */
export const NET_NEEDS: readonly Need[] = [
  () => Deno.uid() === 0 ? undefined : "needs root",
  () => {
    try {
      return Deno.statSync("/dev/net/tun").isCharDevice ? undefined : "needs /dev/net/tun";
    } catch {
      return "needs /dev/net/tun";
    }
  },
];

const calls = libcCalls({
  unshare: { parameters: ["i32"], result: "i32" },
  setns: { parameters: ["i32", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
}, "make a network namespace");

/** Runs `fn` in a new network namespace that has nothing but a loopback interface, which is up. */
export async function inNetns<T>(fn: () => Promise<T>): Promise<T> {
  const { unshare, setns, open, close } = calls();
  const home = open(new TextEncoder().encode("/proc/thread-self/ns/net\0"), 0);
  if (home < 0 || unshare(CLONE_NEWNET) !== 0) throw new Error("no new network namespace: needs root");
  try {
    await run("ip", "link", "set", "lo", "up");
    return await fn();
  } finally {
    setns(home, CLONE_NEWNET);
    close(home);
  }
}

/** Registers a test that runs in a network namespace of its own, as `interop` does. */
export function netTest(name: string, needs: readonly Need[], fn: () => Promise<void>): void {
  interop(name, { needs: [...NET_NEEDS, ...needs] }, () => inNetns(fn));
}

/** Runs a program and answers what it prints; throws what it says when it fails. */
export async function run(command: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  const text = new TextDecoder().decode(stdout);
  if (!success) throw new Error(`${command} ${args.join(" ")}: ${text}${new TextDecoder().decode(stderr)}`);
  return text;
}
