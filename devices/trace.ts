/**
 * Trace: a frame as one line that a person reads.
 *
 * Layer: devices, pure; the trace file of plugins/ether is made of it. It shows what is there and checks nothing: bytes
 * that are missing end the line.
 *
 * `in 74 020000000002 > 020000000001 ip 10.0.0.1:80 > 10.0.0.2:1234 tcp SA seq 1 ack 2 win 65535 len 0`
 */

import { CHECKSUM, type FrameInfo, GSO } from "../core/link.ts";
import { formatMac } from "./mac.ts";

const ETHERTYPES: Record<number, string> = { 0x0800: "ip", 0x0806: "arp", 0x86dd: "ip6", 0x8100: "vlan" };
const PROTOCOLS: Record<number, string> = { 1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6" };
const TCP_FLAGS = "FSRPAUEC";

/** The line of frame [at, end), without a newline. */
export function traceLine(
  way: string,
  bytes: Uint8Array,
  at: number,
  end: number,
  { medium, info }: { medium: "ether" | "ip"; info: FrameInfo },
): string {
  const b = bytes.subarray(at, end), words = [way, String(b.length)];
  if (medium === "ip") words.push(...network(b, 0, b[0] >>> 4 === 6 ? 0x86dd : 0x0800));
  else if (b.length >= 14) {
    words.push(formatMac(b.subarray(6, 12)), ">", formatMac(b.subarray(0, 6)), ...network(b, 14, get16(b, 12)));
  }
  if (info.checksum === CHECKSUM.partial) words.push("csum");
  if (info.gso !== GSO.none) words.push(`gso ${info.gsoBytes}`);
  return words.join(" ");
}

function network(b: Uint8Array, at: number, type: number): string[] {
  const word = ETHERTYPES[type] ?? type.toString(16).padStart(4, "0");
  if (word === "arp" && b.length >= at + 28) return [word, ...arp(b, at)];
  if (word === "vlan" && b.length >= at + 4) {
    return [`vlan ${get16(b, at) & 0xfff}`, ...network(b, at + 4, get16(b, at + 2))];
  }
  if (word === "ip" && b.length >= at + 20) return [word, ...ip(b, at)];
  if (word === "ip6" && b.length >= at + 40) {
    const src = ip6(b, at + 8), dst = ip6(b, at + 24);
    return [word, ...transport(b, at + 40, b[at + 6], { src: `[${src}]`, dst: `[${dst}]`, length: get16(b, at + 4) })];
  }
  return [word];
}

function arp(b: Uint8Array, at: number): string[] {
  const sender = dotted(b, at + 14), target = dotted(b, at + 24);
  return get16(b, at + 6) === 1
    ? ["who-has", target, "tell", sender]
    : [sender, "is-at", formatMac(b.subarray(at + 8, at + 14))];
}

function ip(b: Uint8Array, at: number): string[] {
  const headerBytes = (b[at] & 15) * 4, place = get16(b, at + 6), offset = (place & 0x1fff) * 8;
  const ends = { src: dotted(b, at + 12), dst: dotted(b, at + 16), length: get16(b, at + 2) - headerBytes };
  if (offset > 0 || place & 0x2000) {
    const more = place & 0x2000 ? "+" : "";
    return [
      ends.src,
      ">",
      ends.dst,
      PROTOCOLS[b[at + 9]] ?? `proto ${b[at + 9]}`,
      `frag ${offset}${more} len ${ends.length}`,
    ];
  }
  return transport(b, at + headerBytes, b[at + 9], ends);
}

/** Who, and what of which protocol; `length` is that of the transport's header and data. */
function transport(
  b: Uint8Array,
  at: number,
  proto: number,
  ends: { src: string; dst: string; length: number },
): string[] {
  const word = PROTOCOLS[proto] ?? `proto ${proto}`, { src, dst, length } = ends;
  const ports = () => [`${src}:${get16(b, at)}`, ">", `${dst}:${get16(b, at + 2)}`, word];
  if (word === "tcp" && b.length >= at + 20) {
    const flags = [...TCP_FLAGS].filter((_, bit) => b[at + 13] & 1 << bit).join("");
    const data = length - (b[at + 12] >>> 4) * 4;
    const numbers = `seq ${get32(b, at + 4)} ack ${get32(b, at + 8)} win ${get16(b, at + 14)} len ${data}`;
    return [...ports(), flags === "" ? "-" : flags, numbers];
  }
  if (word === "udp" && b.length >= at + 8) return [...ports(), `len ${get16(b, at + 4) - 8}`];
  const kind = word.startsWith("icmp") && b.length >= at + 2 ? `type ${b[at]} code ${b[at + 1]} ` : "";
  return [src, ">", dst, word, `${kind}len ${length}`];
}

function dotted(b: Uint8Array, at: number): string {
  return b.subarray(at, at + 4).join(".");
}

/** RFC 5952's text but for its rule on which zeros to leave out: the first run of them. */
function ip6(b: Uint8Array, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => get16(b, at + 2 * i).toString(16));
  return groups.join(":").replace(/(^|:)0(:0)+(:|$)/, "::");
}

function get16(b: Uint8Array, at: number): number {
  return b[at] << 8 | b[at + 1];
}

function get32(b: Uint8Array, at: number): number {
  return (get16(b, at) << 16 | get16(b, at + 2)) >>> 0;
}
