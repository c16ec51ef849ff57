/**
 * Ethernet II frames, with one 802.1Q tag or none.
 *
 * Layer: net/wire. The frame check sequence is the hardware's and not part of the bytes. An 802.3 frame (a length where the
 * type would be) is a frame with a type below 1536, which nobody takes. Padding can not be told from data here: what is
 * inside has a length of its own.
 *
 * See IEEE 802.3, 3.2 and 802.1Q, 9.
 */

import { type Fault, get16, matches, Packet, put, set16 } from "./packet.ts";

/** What a frame carries (its EtherType). */
export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd } as const;

export const ETHERNET_BYTES = 14, VLAN_BYTES = 4;

/** Offsets of fields. */
const DST = 0, SRC = 6, TYPE = 12, TCI = 14;

/** What is in a header: the MAC addresses are of six bytes each. */
export interface EthernetFields {
  dst: Uint8Array;
  src: Uint8Array;
  type: number;
  /** The 802.1Q tag control information (priority, drop bit, 12 bits of VLAN); -1 or missing: no tag. */
  tci?: number;
}

/** A frame. `dst` and `src` are windows on its bytes and cost an object each; `isFor` and `writeSrc` cost none. */
export class Ethernet extends Packet implements EthernetFields {
  #tagged = false;

  parse(bytes: Uint8Array, at = 0, end = bytes.length): Fault | undefined {
    if (end - at < ETHERNET_BYTES) return "short";
    const tagged = get16(bytes, at + TYPE) === ETHERTYPE.vlan;
    if (tagged && end - at < ETHERNET_BYTES + VLAN_BYTES) return "short";
    this.point(bytes, at, end);
    this.#tagged = tagged;
    return undefined;
  }

  get payloadAt(): number {
    return this.at + (this.#tagged ? ETHERNET_BYTES + VLAN_BYTES : ETHERNET_BYTES);
  }

  get dst(): Uint8Array {
    return this.bytes.subarray(this.at + DST, this.at + DST + 6);
  }
  set dst(mac: Uint8Array) {
    put(this.bytes, this.at + DST, mac);
  }

  get src(): Uint8Array {
    return this.bytes.subarray(this.at + SRC, this.at + SRC + 6);
  }
  set src(mac: Uint8Array) {
    put(this.bytes, this.at + SRC, mac);
  }

  /** What the frame carries, behind its tag if it has one. */
  get type(): number {
    return get16(this.bytes, this.payloadAt - 2);
  }
  set type(type: number) {
    set16(this.bytes, this.payloadAt - 2, type);
  }

  get tci(): number {
    return this.#tagged ? get16(this.bytes, this.at + TCI) : -1;
  }

  /** The VLAN's number; 0 without a tag, and for a tag that has only a priority. */
  get vlan(): number {
    return this.#tagged ? this.tci & 0xfff : 0;
  }

  /** To a group or to all. */
  get isMulticast(): boolean {
    return (this.bytes[this.at + DST] & 1) !== 0;
  }

  /** Whether `mac` is the destination. */
  isFor(mac: Uint8Array): boolean {
    return matches(this.bytes, this.at + DST, mac);
  }

  /** Copies the sender's address to `mac`. */
  writeSrc(mac: Uint8Array): void {
    for (let i = 0; i < 6; i++) mac[i] = this.bytes[this.at + SRC + i];
  }
}

/** Writes a header at `at`; answers where the payload begins. */
export function emitEthernet(bytes: Uint8Array, at: number, fields: EthernetFields): number {
  const { tci = -1 } = fields;
  put(bytes, at + DST, fields.dst);
  put(bytes, at + SRC, fields.src);
  if (tci >= 0) {
    set16(bytes, at + TYPE, ETHERTYPE.vlan);
    set16(bytes, at + TCI, tci);
    at += VLAN_BYTES;
  }
  set16(bytes, at + TYPE, fields.type);
  return at + ETHERNET_BYTES;
}
