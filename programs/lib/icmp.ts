/**
 * Echo requests as they are written to an ICMP conversation, and what is read from one.
 *
 * Layer: programs/lib, pure, under ping. A message has IP's header in front: 20 bytes, or 40, which are filled in for what is
 * written. The stack fills in identifier and checksum.
 *
 * See RFC 792, RFC 4443; ip(3) of Plan 9 (icmp).
 */

import { formatIp } from "ring9/net";

const HEADER4 = 20, HEADER6 = 40, ICMP_BYTES = 8;
const TYPES = { v4: { request: 8, reply: 0 }, v6: { request: 128, reply: 129 } } as const;

/** Errors by type, and by code where that tells more. */
const TROUBLES4: Record<string, string> = {
  "3": "unreachable",
  "3.0": "network unreachable",
  "3.1": "host unreachable",
  "3.2": "protocol unreachable",
  "3.3": "port unreachable",
  "3.4": "too large",
  "3.13": "prohibited",
  "11": "time exceeded",
  "12": "parameter problem",
};
const TROUBLES6: Record<string, string> = {
  "1": "unreachable",
  "1.0": "no route",
  "1.1": "prohibited",
  "1.3": "address unreachable",
  "1.4": "port unreachable",
  "2": "too large",
  "3": "time exceeded",
  "4": "parameter problem",
};

/** What was heard of one request. */
export interface Heard {
  seq: number;
  from: string;
  /** Of the ICMP message, its header too. */
  bytes: number;
  ttl: number;
  /** An error about the request, in words; undefined for its echo. */
  trouble?: string;
}

/** A request with so many bytes of data, and room for IP's header. */
export function echoRequest(v4: boolean, seq: number, dataBytes: number): Uint8Array {
  const at = v4 ? HEADER4 : HEADER6, message = new Uint8Array(at + ICMP_BYTES + dataBytes);
  message[at] = v4 ? TYPES.v4.request : TYPES.v6.request;
  message[at + 6] = seq >> 8;
  message[at + 7] = seq;
  for (let i = 0; i < dataBytes; i++) message[at + ICMP_BYTES + i] = i;
  return message;
}

/** What a packet says of a request of ours; undefined for anything else. */
export function hearIcmp(packet: Uint8Array, v4: boolean): Heard | undefined {
  const at = v4 ? (packet[0] & 15) * 4 : HEADER6;
  if (packet.length < at + ICMP_BYTES) return undefined;
  const types = v4 ? TYPES.v4 : TYPES.v6, type = packet[at], code = packet[at + 1];
  const from = formatIp(v4 ? mapped(packet.subarray(12, 16)) : packet.slice(8, 24));
  const heard = { from, bytes: packet.length - at, ttl: packet[v4 ? 8 : 7] };
  if (type === types.reply) return { ...heard, seq: seqAt(packet, at) };
  const troubles = v4 ? TROUBLES4 : TROUBLES6, trouble = troubles[`${type}.${code}`] ?? troubles[type];
  if (trouble === undefined) return undefined;
  const quoted = at + ICMP_BYTES, request = quoted + (v4 ? (packet[quoted] & 15) * 4 : HEADER6);
  const isOurs = packet.length >= request + ICMP_BYTES && packet[request] === types.request;
  return isOurs ? { ...heard, seq: seqAt(packet, request), trouble } : undefined;
}

function seqAt(packet: Uint8Array, at: number): number {
  return packet[at + 6] << 8 | packet[at + 7];
}

/** An IPv4 address as the library keeps all of them, in 16 bytes. */
function mapped(v4: Uint8Array): Uint8Array {
  const ip = new Uint8Array(16);
  ip.set([0xff, 0xff], 10);
  ip.set(v4, 12);
  return ip;
}
