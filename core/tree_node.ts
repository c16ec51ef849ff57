/**
 * What a tree is described with: values, nodes, and the handle that an open file is.
 *
 * Layer: core, a leaf of the helper layer for plugin authors (tree.ts serves what is described here; tree_file.ts,
 * tree_ctl.ts, tree_event.ts, tree_log.ts, tree_dir.ts are the kinds). A node is a file or a directory as its author
 * sees it; it knows neither fids nor its place. What changes about a file (version, mtime) is kept in its node.
 */

import { Err } from "./err.ts";
import type { Create, Req, User } from "./dev.ts";
import { DMAPPEND, DMDIR, DMEXCL, type MaybePromise } from "./p9/types.ts";

/** What a file holds: text and bytes as they are, anything else as its text and a newline. */
export type Value = string | Uint8Array | number | bigint | boolean;

/** What computes a value, at once or later; it is told who asks. */
export type Compute = (req: Req) => MaybePromise<Value>;

/** A file or a directory as an author writes it: a value, a function that computes one, a literal directory, a node. */
export type Described = Value | Compute | Node | DirLiteral;

/** A directory written as an object: its names and what they are. */
export type DirLiteral = { readonly [name: string]: Described };

/** Attributes that any node can be given. */
export interface Attr {
  /** Permissions as chmod(1) knows them, `0o644`. Each kind has its own default. */
  mode?: number;
  /** The owner's name; the hostowner when not said. */
  uid?: string;
  /** The group's name; the owner's when not said. */
  gid?: string;
}

/** How a file is being opened, and in which tree. */
export interface Opening {
  /** OREAD, OWRITE, ... with OTRUNC. */
  readonly mode: number;
  readonly req: Req;
  /** Milliseconds since 1970. */
  now(): number;
  /** Tells the tree's log of a failure that no client can be told of. */
  log(text: string): void;
}

/** An open file. What is not there is refused. Borrowing is as in `Dev`. */
export interface Handle {
  /** At most `dst.length` bytes at `offset`: the count put into `dst`, or bytes; 0 is the end. */
  read?(dst: Uint8Array, offset: number, req: Req): number | MaybePromise<Uint8Array>;
  /** How many bytes of `data` were taken. */
  write?(data: Uint8Array, offset: number, req: Req): MaybePromise<number>;
  /** Delivers what was collected so far. */
  fsync?(req: Req): MaybePromise<void>;
  /** The file was clunked. */
  close?(): MaybePromise<void>;
}

/** A file or directory of a tree. */
export abstract class Node {
  /** Permissions with DM bits. */
  readonly mode: number;
  readonly uid: string | undefined;
  readonly gid: string | undefined;
  /** Content version for the qid; 0 says that the content is made at each open, so that no client caches it. */
  vers = 0;
  /** When it last changed, milliseconds since 1970; undefined is since the tree was made. */
  mtimeMs: number | undefined;

  constructor(attr: Attr, defaultMode: number) {
    this.mode = ((attr.mode ?? defaultMode) | (defaultMode & (DMDIR | DMAPPEND | DMEXCL))) >>> 0;
    this.uid = attr.uid;
    this.gid = attr.gid;
  }

  /** True when it is no longer part of the tree, so that nothing in it can be opened. */
  get gone(): boolean {
    return false;
  }

  /** A file in or below this node was opened (+1) or closed (-1). */
  use(_delta: 1 | -1): void {}

  /** Its content changed. */
  touch(nowMs: number): void {
    this.mtimeMs = nowMs;
    if (this.vers > 0) this.vers++;
  }
}

/** A file: whatever `open` answers, it is. */
export abstract class FileNode extends Node {
  abstract open(how: Opening): MaybePromise<Handle>;

  /** Bytes that stat tells; 0 when that is only known at open, as for any made-up file. */
  length(): number {
    return 0;
  }
}

/** A directory. */
export abstract class DirNode extends Node {
  /** The child of that name, or undefined. */
  abstract get(name: string, req: Req): MaybePromise<Described | undefined>;

  /** The names in it. */
  abstract list(req: Req): MaybePromise<Iterable<string>>;

  /** True when its children are always the same nodes. */
  get fixed(): boolean {
    return false;
  }

  /** Tells two files apart that had one name after another; goes into the qid. */
  salt(_name: string): number {
    return 0;
  }

  /** Makes a child. */
  create(_what: Create, _user: User, _req: Req): MaybePromise<Described> {
    throw new Err("EACCES");
  }

  /** Removes a child. */
  remove(_name: string, _req: Req): MaybePromise<void> {
    throw new Err("EACCES");
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The bytes of a value. */
export function bytesOf(value: Value): Uint8Array {
  if (value instanceof Uint8Array) return value;
  return encoder.encode(typeof value === "string" ? value : `${value}\n`);
}

/** Bytes as text; EILSEQ when they are not UTF-8. */
export function textOf(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new Err("EILSEQ", "the text is not UTF-8");
  }
}

/** Goes on with a value now, or with a promise's when it is there. */
export function then<T, U>(value: MaybePromise<T>, next: (value: T) => MaybePromise<U>): MaybePromise<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** Copies what there is of `bytes` at `offset` into `dst`; answers how much. */
export function copyAt(bytes: Uint8Array, dst: Uint8Array, offset: number): number {
  if (offset >= bytes.length) return 0;
  const count = Math.min(dst.length, bytes.length - offset);
  dst.set(count === bytes.length ? bytes : bytes.subarray(offset, offset + count));
  return count;
}
