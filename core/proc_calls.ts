/**
 * The calls of a program, as it sees them: `Sys` blocks until the answer is there, `AsyncSys` answers promises.
 *
 * Layer: core, types and a list; proc_link.ts makes them, proc_service.ts is what they reach. Each call is that of section
 * 2 of the Plan 9 manual; paths are those of the program's own name space. What fails throws an `Err`.
 */

import type { Dir, Wstat } from "./p9/types.ts";
import type { MaybePromise } from "./p9/types.ts";
import type { NoteHandler, Sharing, WaitRecord } from "./proc.ts";

/** How a program starts another. */
export interface SpawnProgram {
  /** Its arguments; the path comes before them. */
  args?: string[];
  ns?: Sharing;
  env?: Sharing;
  /** `copy` takes the same numbers; a list takes those alone. */
  fds?: Sharing | number[];
  /** Files of this program that it has under other numbers: `[[5, 1]]` makes this one's 5 its 1. */
  redirect?: [number, number][];
  /** The CPU to pin it on. */
  cpu?: number;
}

/** The calls that block. */
export interface Sys {
  /** Opens a file (OREAD unless told otherwise): its number. */
  open(path: string, mode?: number): number;
  /** Makes a file, or truncates the one that is there, and opens it (OWRITE, 0666). */
  create(path: string, mode?: number, perm?: number, exclusive?: boolean): number;
  close(fd: number): void;
  /** Reads where the file stands, and moves on: the count, 0 at the end. At most 64 KiB a call. */
  read(fd: number, into: Uint8Array): number;
  /** Reads at an offset: the count. */
  pread(fd: number, into: Uint8Array, offset: number): number;
  /** Writes where the file stands, and moves on: the count. At most 64 KiB a call. */
  write(fd: number, data: Uint8Array | string): number;
  /** Writes at an offset: the count. */
  pwrite(fd: number, data: Uint8Array | string, offset: number): number;
  /** Moves where the file stands: to `offset` (whence 0), on by it (1), from the end (2). Answers the new place. */
  seek(fd: number, offset: number, whence?: 0 | 1 | 2): number;
  /** A second number for an open file: the lowest free one, or `to`. */
  dup(fd: number, to?: number): number;
  /** Both ends of a new pipe. */
  pipe(): [number, number];
  stat(path: string): Dir;
  fstat(fd: number): Dir;
  wstat(path: string, changes: Wstat): void;
  /** The next entries of an open directory; none at the end. */
  dirread(fd: number): Dir[];
  /** All entries of a directory. */
  readdir(path: string): Dir[];
  remove(path: string): void;
  bind(path: string, old: string, flags?: number): void;
  mount(what: string, old: string, flags?: number, aname?: string): void;
  unmount(path: string | null, old: string): void;
  chdir(path: string): void;
  getcwd(): string;
  /** A variable of the environment. */
  getenv(name: string): string | null;
  setenv(name: string, value: string): void;
  /** Starts a program in an isolate of its own: its process id. */
  spawn(path: string, options?: SpawnProgram): number;
  /** Waits for a child to end. ECHILD when there is none. */
  wait(): WaitRecord;
  /** Does nothing for a time, milliseconds. */
  sleep(ms: number): void;
}

/** The same calls, answered by promises: for a program that does several things at a time. */
export type AsyncSys = { [K in keyof Sys]: (...args: Parameters<Sys[K]>) => Promise<ReturnType<Sys[K]>> };

/** Calls that go to the kernel as text; `read` and `write` go as bytes, `readdir` is made of others. */
export const TEXT_CALLS = [
  "open",
  "create",
  "close",
  "seek",
  "dup",
  "pipe",
  "stat",
  "fstat",
  "wstat",
  "dirread",
  "remove",
  "bind",
  "mount",
  "unmount",
  "chdir",
  "getcwd",
  "getenv",
  "setenv",
  "spawn",
  "wait",
  "sleep",
] as const satisfies readonly (keyof Sys)[];

/** One of them. */
export type TextCall = typeof TEXT_CALLS[number];

/** What a program is given. */
export interface Program {
  /** What it was called with; the path it was found at comes first. */
  readonly args: readonly string[];
  /** Its process id. */
  readonly pid: number;
  /** Calls that block. While one does, nothing else in the program runs. */
  readonly sys: Sys;
  /** The same calls, answered by promises. */
  readonly async: AsyncSys;
  /** Writes a text to file 1, all of it. */
  print(text: string): void;
  /** Handles notes from now on; null leaves them to end the program. A note ends a call that blocks with EINTR. */
  notify(handler: NoteHandler | null): void;
  /** Ends the program; an empty status is success. */
  exit(status?: string): never;
}

/** The default export of a program's module: the status that it answers is that of the process, none is success. */
export type ProgramMain = (program: Program) => MaybePromise<string | void>;

/** Types a program; the value is handed back as it is. */
export function defineProgram(main: ProgramMain): ProgramMain {
  return main;
}
