/**
 * Lockdown: takes from the calling thread, and from every thread it starts later, the power to harm the host.
 *
 * Layer: core/host; the warden (warden.ts) does this to the main thread, and a plugin's process (process_main.ts) takes
 * the filter where bubblewrap has not put it on. Three walls, each used where the host has it:
 * Landlock (no file, no TCP, no signal to others), a seccomp filter (no exec, socket, kill, ptrace, mount, ...), and
 * Deno's own permissions, all revoked. What is missing is reported, never hidden. There is no way back. Threads that
 * exist already (the kernel isolate) keep theirs.
 *
 * See landlock(7), seccomp(2), prctl(2) PR_SET_NO_NEW_PRIVS; system call numbers are in asm/unistd.h.
 */

import { errno, libc, whyNoLibc } from "./libc.ts";
import { type FilterOptions, filterProgram } from "./seccomp.ts";

const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_SET_MODE_FILTER = 1n;
/** All threads of the process, not the calling one alone. */
const SECCOMP_FILTER_FLAG_TSYNC = 1n;
/** The same numbers on every architecture. */
const SYS_LANDLOCK_CREATE_RULESET = 444n, SYS_LANDLOCK_RESTRICT_SELF = 446n;
const SYS_SECCOMP: Record<string, bigint> = { x86_64: 317n, aarch64: 277n };
const LANDLOCK_CREATE_RULESET_VERSION = 1n;
const NULL = 0n;

/** Deno's permissions. */
export const PERMISSIONS = ["read", "write", "net", "env", "sys", "run", "ffi", "import"] as const;

/** What holds of the walls. */
export interface LockReport {
  /** Version of Landlock's interface, 0 when it is not there. */
  readonly landlock: number;
  readonly seccomp: boolean;
  /** Whether all of Deno's permissions are gone. */
  readonly permissions: boolean;
  /** What is missing, why, and what that means: a line each. Empty when all holds. */
  readonly missing: readonly string[];
}

type Calls = ReturnType<typeof openCalls>;

/** Locks the calling thread as far as the host can. Never throws. */
export function lockThread(): LockReport {
  const missing: string[] = [];
  const attempt = <T>(what: string, otherwise: T, fn: () => T): T => {
    try {
      return fn();
    } catch (e) {
      missing.push(`no ${what} (${(e as Error).message})`);
      return otherwise;
    }
  };
  new Date().getTimezoneOffset(); // reads the host's time zone while that can be read; it is kept
  const calls = attempt("lock on system calls", null, openCalls);
  let landlock = 0, seccomp = false;
  if (calls) {
    attempt("no_new_privs", undefined, () => check(calls.prctl(PR_SET_NO_NEW_PRIVS, 1n, NULL, NULL, NULL)));
    landlock = attempt("Landlock", 0, () => restrictFiles(calls));
    const options = { arch: Deno.build.arch, exec: false, network: false };
    seccomp = attempt("seccomp filter", false, () => filterCalls(calls, options));
  }
  const permissions = attempt("revoking of Deno's permissions", false, revokePermissions);
  return { landlock, seccomp, permissions, missing };
}

/**
 * Puts the filter on every thread of this process, for good. `library` is the C library, the one file that FFI has to
 * be permitted for. Throws why it can not.
 */
export function filterProcess(library: string, options: FilterOptions): void {
  const calls = openLibrary(library);
  check(calls.prctl(PR_SET_NO_NEW_PRIVS, 1n, NULL, NULL, NULL));
  filterCalls(calls, options, SECCOMP_FILTER_FLAG_TSYNC);
}

function openCalls() {
  if (!libc()) throw new Error(whyNoLibc());
  return openLibrary("libc.so.6");
}

function openLibrary(library: string) {
  const parameters = ["u64", "u64", "u64", "u64"] as const;
  return Deno.dlopen(library, {
    prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
    memcpy: { parameters: ["buffer", "buffer", "usize"], result: "u64" },
    syscall: { parameters, result: "i64" },
    syscallBuffer: { name: "syscall", parameters: ["u64", "buffer", "u64", "u64"], result: "i64" },
    syscallBuffer3: { name: "syscall", parameters: ["u64", "u64", "u64", "buffer"], result: "i64" },
  }).symbols;
}

function check(result: number | bigint): number {
  if (Number(result) < 0) throw new Error(`errno ${errno()}`);
  return Number(result);
}

/** Handles every right that this kernel knows, and allows none. Answers the version of the interface. */
function restrictFiles(calls: Calls): number {
  const version = check(calls.syscall(SYS_LANDLOCK_CREATE_RULESET, NULL, NULL, LANDLOCK_CREATE_RULESET_VERSION));
  const attr = landlockAttr(version);
  const ruleset = check(calls.syscallBuffer(SYS_LANDLOCK_CREATE_RULESET, attr, BigInt(attr.length), NULL));
  check(calls.syscall(SYS_LANDLOCK_RESTRICT_SELF, BigInt(ruleset), NULL, NULL));
  return version;
}

/** struct landlock_ruleset_attr: file rights; from version 4 TCP; from 6 scopes (abstract unix sockets, signals). */
function landlockAttr(version: number): Uint8Array<ArrayBuffer> {
  const fileRights = version >= 5 ? 0xffffn : version >= 3 ? 0x7fffn : version === 2 ? 0x3fffn : 0x1fffn;
  const words = [fileRights];
  if (version >= 4) words.push(0b11n);
  if (version >= 6) words.push(0b11n);
  return new Uint8Array(BigUint64Array.from(words).buffer);
}

function filterCalls(calls: Calls, options: FilterOptions, flags = NULL): boolean {
  const program = filterProgram(options);
  const fprog = new DataView(new ArrayBuffer(16)); // struct sock_fprog
  fprog.setUint16(0, program.length / 8, true);
  // Where the program lies, without UnsafePointer: that takes FFI for every file.
  fprog.setBigUint64(8, calls.memcpy(program, program, NULL), true);
  const buffer = new Uint8Array(fprog.buffer);
  const other = check(calls.syscallBuffer3(SYS_SECCOMP[Deno.build.arch], SECCOMP_SET_MODE_FILTER, flags, buffer));
  if (other !== 0) throw new Error(`thread ${other} has another filter`);
  return true;
}

function revokePermissions(): boolean {
  const kept = PERMISSIONS.filter((name) => Deno.permissions.revokeSync({ name }).state === "granted");
  if (kept.length > 0) throw new Error(`still granted: ${kept.join(", ")}`);
  return true;
}
