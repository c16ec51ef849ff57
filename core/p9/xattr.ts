/**
 * Extended attributes on their way through a fid: 9P2000.L reads and writes one by Tread and Twrite.
 *
 * Layer: core/p9, below the session. Txattrwalk makes a fid that holds the value, or the list of names; Txattrcreate
 * turns a fid into one that collects a value, which becomes the attribute when the fid is clunked.
 */

import { type Chan, Req } from "../dev.ts";
import { Err } from "../err.ts";
import { MAXNAME, type MaybePromise, type U64 } from "./types.ts";
import { utf8Length } from "./utf8.ts";

/** Bytes of a value at the most, as in Linux. */
const XATTR_MAX_BYTES = 64 * 1024;
/** setxattr(2)'s flag: the attribute must exist. */
const XATTR_REPLACE = 2;

/** What such a fid answers to Tread, Twrite and Tclunk. */
export interface Xattr {
  read(offset: U64, count: number): Uint8Array;
  write(offset: U64, data: Uint8Array): number;
  /** The fid is clunked. */
  commit(chan: Chan): MaybePromise<void>;
}

/** The value of the attribute `name`, or with an empty name all names, each with a NUL behind it. */
export function xattrBytes(chan: Chan, name: string, req: Req): MaybePromise<Uint8Array> {
  if (name !== "") return chan.dev.getxattr(chan, name, req);
  const names = chan.dev.listxattr(chan, req);
  return names instanceof Promise ? names.then(packNames) : packNames(names);
}

function packNames(names: string[]): Uint8Array {
  return new TextEncoder().encode(names.map((name) => name + "\0").join(""));
}

/** A value that is read. */
export class XattrRead implements Xattr {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  read(offset: U64, count: number): Uint8Array {
    return typeof offset === "number" ? this.#bytes.subarray(offset, offset + count) : new Uint8Array(0);
  }

  write(): number {
    throw new Err("EBADF", "bad use of fid");
  }

  commit(): void {}
}

/** A value that is collected. */
export class XattrWrite implements Xattr {
  readonly #name: string;
  readonly #bytes: Uint8Array;
  readonly #flags: number;
  #filled = 0;

  constructor(chan: Chan, name: string, size: U64, flags: number) {
    if (chan.mode !== -1) throw new Err("EBADF", "file already open for I/O");
    if (name === "" || utf8Length(name) > MAXNAME) throw new Err("ERANGE", "bad name of an extended attribute");
    if (typeof size !== "number" || size > XATTR_MAX_BYTES) throw new Err("E2BIG");
    this.#name = name;
    this.#bytes = new Uint8Array(size);
    this.#flags = flags;
  }

  read(): Uint8Array {
    throw new Err("EBADF", "bad use of fid");
  }

  write(offset: U64, data: Uint8Array): number {
    if (offset !== this.#filled || this.#filled + data.length > this.#bytes.length) throw new Err("ENOSPC");
    this.#bytes.set(data, this.#filled);
    this.#filled += data.length;
    return data.length;
  }

  /** Linux removes an attribute by replacing it with nothing. */
  async commit(chan: Chan): Promise<void> {
    if (this.#filled !== this.#bytes.length) throw new Err("EIO", "the extended attribute was not written whole");
    const value = this.#filled === 0 && this.#flags === XATTR_REPLACE ? null : this.#bytes;
    await chan.dev.setxattr(chan, this.#name, value, this.#flags, new Req(chan.user));
  }
}
