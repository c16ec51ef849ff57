/**
 * A map whose keys are IP addresses, and that finds a value without making an object.
 *
 * Layer: net/ip, a leaf. Keys are copied. The hash is mixed with a secret, so that nobody from outside can choose addresses
 * that all fall together. Order of iteration is that of insertion; `touch` moves an entry to the end, so that the first one is
 * the one to evict.
 */

import { type Ip, sameIp } from "../addr.ts";
import { get32 } from "../wire/packet.ts";

interface Node<V> {
  readonly key: Ip;
  value: V;
  next: Node<V> | undefined;
  older: Node<V> | undefined;
  newer: Node<V> | undefined;
}

/** Mixes an address, and one number beside it, into an int32. */
export function hashIp(bytes: Uint8Array, at: number, salt: number): number {
  let h = Math.imul(get32(bytes, at) ^ salt, 0x9e3779b1);
  h = Math.imul(h ^ h >>> 15 ^ get32(bytes, at + 4), 0x85ebca6b);
  h = Math.imul(h ^ h >>> 13 ^ get32(bytes, at + 8), 0xc2b2ae35);
  h = Math.imul(h ^ h >>> 16 ^ get32(bytes, at + 12), 0x27d4eb2f);
  return h ^ h >>> 15;
}

export class IpMap<V> {
  readonly #chains = new Map<number, Node<V>>();
  readonly #salt: number;
  #oldest: Node<V> | undefined;
  #newest: Node<V> | undefined;
  #count = 0;

  constructor(salt: number) {
    this.#salt = salt | 0;
  }

  get count(): number {
    return this.#count;
  }

  /** The value of the address at `at`. */
  get(ip: Uint8Array, at = 0): V | undefined {
    return this.#find(ip, at)?.value;
  }

  set(ip: Ip, value: V): void {
    const node = this.#find(ip, 0);
    if (node !== undefined) {
      node.value = value;
      return;
    }
    const hash = hashIp(ip, 0, this.#salt);
    const made: Node<V> = {
      key: ip.slice(0, 16),
      value,
      next: this.#chains.get(hash),
      older: undefined,
      newer: undefined,
    };
    this.#chains.set(hash, made);
    this.#append(made);
    this.#count++;
  }

  delete(ip: Ip): boolean {
    const hash = hashIp(ip, 0, this.#salt);
    let before: Node<V> | undefined, node = this.#chains.get(hash);
    while (node !== undefined && !sameIp(node.key, ip)) [before, node] = [node, node.next];
    if (node === undefined) return false;
    if (before !== undefined) before.next = node.next;
    else if (node.next !== undefined) this.#chains.set(hash, node.next);
    else this.#chains.delete(hash);
    this.#unlink(node);
    this.#count--;
    return true;
  }

  clear(): void {
    this.#chains.clear();
    this.#oldest = this.#newest = undefined;
    this.#count = 0;
  }

  /** Marks an entry as the one used last. */
  touch(ip: Ip): void {
    const node = this.#find(ip, 0);
    if (node === undefined || node === this.#newest) return;
    this.#unlink(node);
    this.#append(node);
  }

  /** The entry that was set or touched longest ago. */
  get oldest(): V | undefined {
    return this.#oldest?.value;
  }

  /** Removes what was set or touched longest ago; answers it. */
  evict(): V | undefined {
    const node = this.#oldest;
    if (node !== undefined) this.delete(node.key);
    return node?.value;
  }

  *values(): Generator<V> {
    for (let node = this.#oldest; node !== undefined;) {
      const { newer } = node;
      yield node.value;
      node = newer;
    }
  }

  #find(ip: Uint8Array, at: number): Node<V> | undefined {
    let node = this.#chains.get(hashIp(ip, at, this.#salt));
    while (node !== undefined && !sameAt(node.key, ip, at)) node = node.next;
    return node;
  }

  #append(node: Node<V>): void {
    node.older = this.#newest;
    node.newer = undefined;
    if (this.#newest === undefined) this.#oldest = node;
    else this.#newest.newer = node;
    this.#newest = node;
  }

  #unlink(node: Node<V>): void {
    if (node.older === undefined) this.#oldest = node.newer;
    else node.older.newer = node.newer;
    if (node.newer === undefined) this.#newest = node.older;
    else node.newer.older = node.older;
  }
}

function sameAt(key: Ip, bytes: Uint8Array, at: number): boolean {
  for (let i = 15; i >= 0; i--) if (key[i] !== bytes[at + i]) return false;
  return true;
}
