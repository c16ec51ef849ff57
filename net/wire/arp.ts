/**
 * ARP for IPv4 over Ethernet.
 *
 * Layer: net/wire. A message of other address families is refused (`version`): there is nothing else that it would be of
 * use for. Probes and announcements are told apart here; what to do about them is the stack's.
 *
 * See RFC 826; RFC 5227 (probes, announcements, conflicts).
 */

import { ETHERTYPE } from "./ethernet.ts";
import { type Fault, get16, get32, Packet, put, set16, set32 } from "./packet.ts";

export const ARP_BYTES = 28;
export const ARP_REQUEST = 1, ARP_REPLY = 2;

const HARDWARE_ETHERNET = 1;

/** Offsets of fields. */
const HARDWARE = 0, PROTOCOL = 2, LENGTHS = 4, OP = 6, SENDER_MAC = 8, SENDER = 14, TARGET_MAC = 18, TARGET = 24;

/** What is in a message: IPv4 addresses as numbers, MAC addresses as six bytes. */
export interface ArpFields {
  /** ARP_REQUEST or ARP_REPLY. */
  op: number;
  senderMac: Uint8Array;
  sender: number;
  targetMac: Uint8Array;
  target: number;
}

/** A message. Its MAC addresses are windows on its bytes. */
export class Arp extends Packet implements ArpFields {
  parse(bytes: Uint8Array, at = 0, end = bytes.length): Fault | undefined {
    if (end - at < ARP_BYTES) return "short";
    if (get16(bytes, at + HARDWARE) !== HARDWARE_ETHERNET || get16(bytes, at + PROTOCOL) !== ETHERTYPE.ipv4) {
      return "version";
    }
    if (get16(bytes, at + LENGTHS) !== 0x0604) return "length";
    const op = get16(bytes, at + OP);
    if (op !== ARP_REQUEST && op !== ARP_REPLY) return "field";
    this.point(bytes, at, at + ARP_BYTES);
    return undefined;
  }

  get payloadAt(): number {
    return this.end;
  }

  get op(): number {
    return get16(this.bytes, this.at + OP);
  }

  get senderMac(): Uint8Array {
    return this.bytes.subarray(this.at + SENDER_MAC, this.at + SENDER_MAC + 6);
  }

  get sender(): number {
    return get32(this.bytes, this.at + SENDER);
  }

  get targetMac(): Uint8Array {
    return this.bytes.subarray(this.at + TARGET_MAC, this.at + TARGET_MAC + 6);
  }

  get target(): number {
    return get32(this.bytes, this.at + TARGET);
  }

  /** A request that asks, with no address of its own yet, whether somebody has `target`. */
  get isProbe(): boolean {
    return this.op === ARP_REQUEST && this.sender === 0;
  }

  /** Unasked for: the sender tells its own address. */
  get isAnnouncement(): boolean {
    return this.sender === this.target && this.sender !== 0;
  }
}

/** Writes a message at `at`; answers where it ends. */
export function emitArp(bytes: Uint8Array, at: number, fields: ArpFields): number {
  set16(bytes, at + HARDWARE, HARDWARE_ETHERNET);
  set16(bytes, at + PROTOCOL, ETHERTYPE.ipv4);
  set16(bytes, at + LENGTHS, 0x0604);
  set16(bytes, at + OP, fields.op);
  put(bytes, at + SENDER_MAC, fields.senderMac);
  set32(bytes, at + SENDER, fields.sender);
  put(bytes, at + TARGET_MAC, fields.targetMac);
  set32(bytes, at + TARGET, fields.target);
  return at + ARP_BYTES;
}
