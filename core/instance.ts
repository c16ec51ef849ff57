/**
 * Instance: what the core keeps of one Dev that is in use, and how its qids are told from those of other Devs.
 *
 * Layer: core, between the Dev contract and the name space. There is one Instance a Dev object; a plugin that is
 * loaded again is a new Dev and so a new Instance. Once `gone` is set no operation reaches the Dev any more.
 *
 * Linux takes qid.path for the inode number, so paths must differ over all Devs of an exported name space. A path is
 * cut in two: its low 32 bits stay, and the pair (Dev, high bits) is given a number of its own, which stands above
 * them. Most Devs count their files from 0 and need one such number. One with paths that are all over 64 bits gets at
 * most MAX_PREFIXES of them; then its paths are hashed, which costs no memory.
 */

import type { Chan, Dev } from "./dev.ts";
import { Err } from "./err.ts";
import type { Qid, U64 } from "./p9/types.ts";
import type { Successor } from "./successor.ts";

/** High parts a Dev may have numbered. */
const MAX_PREFIXES = 1 << 16;
/** Numbers that leave the whole path exact in a JavaScript number. */
const EXACT_PREFIXES = 1 << 21;
const LOW = 2 ** 32;

let prefixes = 0;
const instances = new WeakMap<Dev, Instance>();

/** The Instance of a Dev; always the same one. */
// deno-lint-ignore no-explicit-any -- a Dev of whatever aux
export function instanceOf(dev: Dev<any>): Instance {
  let found = instances.get(dev);
  if (!found) instances.set(dev, found = new Instance(dev));
  return found;
}

/** One Dev in use. */
export class Instance {
  readonly dev: Dev;
  /** Files of it that are open through a name space. */
  open = 0;
  /** What its files answer once it has been taken away. */
  gone: Err | null = null;
  /** Who comes in its place, when it has gone and somebody is to come. */
  successor: Successor | null = null;
  #prefix = ++prefixes;
  #prefixes: Map<number, number> | undefined;

  constructor(dev: Dev) {
    this.dev = dev;
  }

  /** Takes the Dev away: from now on its files answer ESTALE with this text. */
  retire(why: string, successor: Successor | null = this.successor): void {
    this.gone ??= new Err("ESTALE", why);
    this.successor = successor;
  }

  /** A qid of the Dev as the name space shows it. */
  fold(qid: Qid): Qid {
    return { type: qid.type, vers: qid.vers, path: this.foldPath(qid.path) };
  }

  /** A qid.path that no other Dev's file has. */
  foldPath(path: U64): U64 {
    if (path < LOW && this.#prefix < EXACT_PREFIXES) return this.#prefix * LOW + (path as number);
    return this.#foldLong(path);
  }

  #foldLong(path: U64): U64 {
    const long = BigInt(path);
    const prefix = this.#prefixOf(Number(long >> 32n));
    if (prefix < 0) return hash(long, this.#prefix);
    const low = Number(long & 0xffffffffn);
    return prefix < EXACT_PREFIXES ? prefix * LOW + low : (BigInt(prefix) << 32n) | BigInt(low);
  }

  #prefixOf(high: number): number {
    if (high === 0) return this.#prefix;
    this.#prefixes ??= new Map();
    let prefix = this.#prefixes.get(high);
    if (prefix === undefined) {
      if (this.#prefixes.size >= MAX_PREFIXES) return -1;
      this.#prefixes.set(high, prefix = ++prefixes);
    }
    return prefix;
  }
}

/** A path in the upper half of the 64 bits, where no numbered one is. */
function hash(path: bigint, prefix: number): bigint {
  let h = BigInt.asUintN(64, path ^ (BigInt(prefix) * 0x9e3779b97f4a7c15n));
  h = BigInt.asUintN(64, (h ^ (h >> 30n)) * 0xbf58476d1ce4e5b9n);
  h = BigInt.asUintN(64, (h ^ (h >> 27n)) * 0x94d049bb133111ebn);
  return (h ^ (h >> 31n)) | (1n << 63n);
}

/** Lets go of a Dev's Chan when nobody waits for it: there is nobody to tell of a failure either. */
// deno-lint-ignore no-explicit-any -- a Chan of whatever Dev
export function release(chan: Chan<any>, inst: Instance): void {
  if (inst.gone) return;
  try {
    const done = chan.dev.clunk(chan);
    if (done instanceof Promise) done.catch(() => {});
  } catch {
    // As above: the Chan is gone either way.
  }
}
