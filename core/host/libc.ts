/**
 * libc: calls of the C library, by FFI, opened on first use: those that the core makes, and a way for devices to name
 * theirs.
 *
 * Layer: core/host. `libc()` answers null where FFI is not permitted or there is no such library, and `whyNoLibc()`
 * says which; nothing here prompts. A library is opened once, and kept as long as the process lives. A 64-bit argument is a
 * bigint made beforehand: a number costs 200 ns more.
 *
 * See sched_setaffinity(2), prctl(2), clock_gettime(2), syscall(2).
 */

import { Err, errFromErrno } from "../err.ts";

const SYMBOLS = {
  gettid: { parameters: [], result: "i32" },
  sched_yield: { parameters: [], result: "i32" },
  sched_getcpu: { parameters: [], result: "i32" },
  sched_setaffinity: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  sched_getaffinity: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  prctl: { parameters: ["i32", "buffer", "usize", "usize", "usize"], result: "i32" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  /** Any call by its number; the buffer is its second argument. */
  syscall: { parameters: ["i64", "i64", "buffer", "u64", "u64"], result: "i64" },
  __errno_location: { parameters: [], result: "pointer" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The calls, as functions. */
export type Libc = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

const NAMES = ["libc.so.6", "libc.so"];

let opened: Libc | null | undefined;
let reason = "";

/** The C library, or null where it may not or can not be opened. */
export function libc(): Libc | null {
  if (opened === undefined) opened = open();
  return opened;
}

/** The C library, for who can not go on without: throws EOPNOTSUPP that says why and what to try. */
export function needLibc(what: string): Libc {
  const c = libc();
  if (!c) throw new Err("EOPNOTSUPP", `cannot ${what}: ${reason}`);
  return c;
}

/** The file that this process has its C library from; undefined where it can not be told. */
export function libcPath(): string | undefined {
  try {
    return /\s(\/\S*\/libc\.so\.6)$/m.exec(Deno.readTextFileSync("/proc/self/maps"))?.[1];
  } catch {
    return undefined; // no /proc, or it may not be read
  }
}

/** Why `libc()` is null; empty when it is not. */
export function whyNoLibc(): string {
  libc();
  return reason;
}

/** errno of the call just made. */
export function errno(): number {
  const at = libc()?.__errno_location();
  return at ? new Deno.UnsafePointerView(at).getInt32() : 0;
}

/** The error of the call just made: `what` says what was tried. */
export function errnoErr(what: string): Err {
  const number = errno();
  return errFromErrno(number, `${what}: ${errFromErrno(number).message}`);
}

function open(): Libc | null {
  const library = openLibrary(SYMBOLS);
  if (typeof library !== "string") return library;
  reason = library;
  return null;
}

/** What opens each set of calls that some module of this isolate has named. */
const openers: (() => unknown)[] = [];

/**
 * Names calls of the C library: the function that is answered gives them, opened on first use. It throws EOPNOTSUPP, with
 * `what` could not be done and what to try, where FFI is not permitted or a call is missing.
 *
 * `const calls = libcCalls({ fsync: { parameters: ["i32"], result: "i32" } }, "serve host files")`
 */
export function libcCalls<const S extends Deno.ForeignLibraryInterface>(
  symbols: S,
  what: string,
): () => Deno.DynamicLibrary<S>["symbols"] {
  let calls: Deno.DynamicLibrary<S>["symbols"] | undefined;
  const opener = () => {
    if (calls) return calls;
    const library = openLibrary(symbols);
    if (typeof library === "string") throw new Err("EOPNOTSUPP", `cannot ${what}: ${library}`);
    return calls = library;
  };
  openers.push(opener);
  return opener;
}

/** Opens all that was named: for tests, in which a library that is opened while they run counts as a leak. */
export function openAllCalls(): void {
  for (const opener of [libc, ...openers]) opener();
}

/** The calls, or why there are none. */
function openLibrary<const S extends Deno.ForeignLibraryInterface>(
  symbols: S,
): Deno.DynamicLibrary<S>["symbols"] | string {
  if (typeof Deno === "undefined" || typeof Deno.dlopen !== "function") return "this isolate has no FFI";
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") {
    return "FFI is not permitted (try: placement inline, --allow-ffi)";
  }
  let failure: unknown;
  for (const name of NAMES) {
    try {
      return Deno.dlopen(name, symbols).symbols;
    } catch (e) {
      failure = e;
    }
  }
  return `no C library with these calls: ${(failure as Error).message}`;
}
