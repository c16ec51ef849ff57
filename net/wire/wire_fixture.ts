/**
 * What the tests of wire formats share: bytes from hex, seeded random numbers, a guard that throws on a read outside of
 * the packet, and the hostile inputs that every view has to survive.
 *
 * Layer: net/wire, tests only.
 */

import assert from "node:assert/strict";
import type { Fault, Packet } from "./packet.ts";

/** Bytes from hex digits; white space is ignored. */
export function hex(text: string): Uint8Array {
  const digits = text.replace(/\s/g, "");
  assert.ok(digits.length % 2 === 0, `an odd number of hex digits: ${text}`);
  return Uint8Array.from(digits.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}

/** Seeded random numbers (xorshift32). */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  }
  /** An integer in `[0, n)`. */
  below(n: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % n;
  }
  bytes(n: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length: n }, () => this.below(256));
  }
}

/** `data` in the middle of a larger array, as bytes [at, end) of one that throws when anything else is touched. */
export function guarded(data: Uint8Array): { bytes: Uint8Array; at: number; end: number } {
  const at = 5, end = at + data.length, room = new Uint8Array(end + 5).fill(0xee);
  room.set(data, at);
  const within = (key: string | symbol) => {
    if (typeof key === "string" && /^-?\d+$/.test(key) && (Number(key) < at || Number(key) >= end)) {
      throw new RangeError(`byte ${Number(key) - at} of a packet of ${data.length}`);
    }
  };
  const subarray = (from: number, to: number) => {
    if (from < at || to > end || from > to) {
      throw new RangeError(`bytes ${from - at} to ${to - at} of a packet of ${data.length}`);
    }
    return room.subarray(from, to);
  };
  const bytes = new Proxy(room, {
    get(target, key) {
      within(key);
      return key === "subarray" ? subarray : Reflect.get(target, key, target);
    },
    set(target, key, value) {
      within(key);
      return Reflect.set(target, key, value, target);
    },
  });
  return { bytes, at, end };
}

/** Parses `data` under guard and, when it is a packet, reads all that the view offers and what `more` does. */
export function explore<P extends Packet>(packet: P, data: Uint8Array, more?: (packet: P) => void): Fault | undefined {
  const { bytes, at, end } = guarded(data);
  const fault = packet.parse(bytes, at, end);
  if (fault !== undefined) return fault;
  for (let proto = Object.getPrototypeOf(packet); proto !== Object.prototype; proto = Object.getPrototypeOf(proto)) {
    for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(proto))) {
      if (property.get) void packet[name as keyof P];
    }
  }
  assert.ok(at <= packet.at && packet.at <= packet.payloadAt && packet.payloadAt <= packet.end && packet.end <= end);
  more?.(packet);
  return undefined;
}

/** Golden packets, whole, cut at every length, with random bytes changed, and random bytes of every small length. */
export function abuse<P extends Packet>(packet: P, golden: Uint8Array[], more?: (packet: P) => void): void {
  for (const data of golden) {
    assert.equal(explore(packet, data, more), undefined, "a golden packet");
    for (let length = 0; length < data.length; length++) explore(packet, data.subarray(0, length), more);
  }
  for (let seed = 1; seed <= 300; seed++) {
    const random = new Random(seed);
    try {
      const data = golden[random.below(golden.length)].slice(0, 200);
      for (let i = random.below(4); i >= 0; i--) data[random.below(Math.min(data.length, 80))] = random.below(256);
      explore(packet, data, more);
      explore(packet, random.bytes(random.below(120)), more);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
}

/** Every cut of `data` shorter than `needed` bytes is refused, and none from there on. */
export function refusesCuts(packet: Packet, data: Uint8Array, needed = data.length): void {
  for (let length = 0; length <= data.length; length++) {
    const fault = explore(packet, data.subarray(0, length));
    assert.equal(fault === undefined, length >= needed, `${length} of ${data.length} bytes: ${fault}`);
  }
}
