/**
 * A packet as a line that a person reads: every layer that is known, the outermost first.
 *
 * Layer: programs/lib, pure, under snoop. What holds always: bytes that are missing or make no sense end the line, and no more.
 *
 * `IP 10.0.0.1.80 > 10.0.0.2.1234 TCP SA seq 1 ack 2 win 65535 <mss 1460,sackOK,wscale 7> len 0`
 */

import { formatIp } from "ring9/net";
import { describeDhcp, describeDns } from "./packet_apps.ts";

const TCP_FLAGS = "FSRPAUEC";
const ETHERTYPES: Record<number, string> = {
  0x0800: "IP",
  0x0806: "ARP",
  0x86dd: "IP6",
  0x8100: "VLAN",
  0x88cc: "LLDP",
};
const PROTOCOLS: Record<number, string> = { 1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 58: "ICMP6" };
const ICMP4: Record<number, string> = {
  0: "echo reply",
  3: "unreachable",
  4: "source quench",
  5: "redirect",
  8: "echo",
  9: "router advertisement",
  10: "router solicitation",
  11: "time exceeded",
  12: "parameter problem",
  13: "timestamp",
  14: "timestamp reply",
};
const ICMP6: Record<number, string> = {
  1: "unreachable",
  2: "too large",
  3: "time exceeded",
  4: "parameter problem",
  128: "echo",
  129: "echo reply",
  130: "listener query",
  131: "listener report",
  132: "listener done",
  133: "router solicitation",
  134: "router advertisement",
  135: "who-has",
  136: "is-at",
  137: "redirect",
  143: "listener report v2",
};
const EXTENSIONS6 = [0, 43, 60], FRAGMENT6 = 44, NO_NEXT6 = 59;
const DNS_PORTS = [53, 5353], DHCP_PORTS = [67, 68];
const LINE_CHARS = 400;

/** Thrown where bytes end too early. */
class Short extends Error {}

/** One packet's line. */
export function describe(frame: Uint8Array, medium: "ether" | "ip"): string {
  const words: string[] = [];
  try {
    if (medium === "ether") ethernet(new View(frame), words);
    else network(new View(frame), frame[0] >> 4 === 6 ? 0x86dd : 0x0800, words);
  } catch (thrown) {
    if (!(thrown instanceof Short)) throw thrown;
    words.push("[short]");
  }
  return words.join(" ").slice(0, LINE_CHARS);
}

/** Bytes with a start, that may end early. */
export class View {
  constructor(readonly bytes: Uint8Array, readonly at = 0, readonly end = bytes.length) {}

  get length(): number {
    return this.end - this.at;
  }

  u8(at: number): number {
    return this.slice(at, 1)[0];
  }

  u16(at: number): number {
    const [high, low] = this.slice(at, 2);
    return high << 8 | low;
  }

  u32(at: number): number {
    return this.u16(at) * 65536 + this.u16(at + 2);
  }

  slice(at: number, count: number): Uint8Array {
    if (at < 0 || at + count > this.length) throw new Short();
    return this.bytes.subarray(this.at + at, this.at + at + count);
  }

  /** What lies behind the first `at` bytes, `count` of it at the most. */
  from(at: number, count = Infinity): View {
    if (at > this.length) throw new Short();
    return new View(this.bytes, this.at + at, Math.min(this.end, this.at + at + count));
  }
}

function ethernet(v: View, words: string[]): void {
  words.push(mac(v, 6), ">", mac(v, 0));
  network(v.from(14), v.u16(12), words);
}

function network(v: View, type: number, words: string[]): void {
  words.push(ETHERTYPES[type] ?? `type ${type.toString(16).padStart(4, "0")}`);
  if (type === 0x0800) ipv4(v, words);
  else if (type === 0x86dd) ipv6(v, words);
  else if (type === 0x0806) arp(v, words);
  else if (type === 0x8100) {
    words.push(`${v.u16(0) & 0xfff}`);
    network(v.from(4), v.u16(2), words);
  } else words.push(`len ${v.length}`);
}

function arp(v: View, words: string[]): void {
  const sender = dotted(v, 14), target = dotted(v, 24);
  words.push(...v.u16(6) === 1 ? ["who-has", target, "tell", sender] : [sender, "is-at", mac(v, 8)]);
}

function ipv4(v: View, words: string[]): void {
  const headBytes = (v.u8(0) & 15) * 4, place = v.u16(6), offset = (place & 0x1fff) * 8, proto = v.u8(9);
  const ends = { src: dotted(v, 12), dst: dotted(v, 16) }, data = v.from(headBytes, v.u16(2) - headBytes);
  if (place & 0x2000 || offset > 0) words.push(`frag ${offset}${place & 0x2000 ? "+" : ""} id ${v.u16(4)}`);
  if (offset > 0) words.push(ends.src, ">", ends.dst, PROTOCOLS[proto] ?? `proto ${proto}`, `len ${data.length}`);
  else transport(data, proto, ends, words);
  if (v.u8(8) === 1) words.push("ttl 1");
}

function ipv6(v: View, words: string[]): void {
  const ends = { src: formatIp(v.slice(8, 16)), dst: formatIp(v.slice(24, 16)) };
  let next = v.u8(6), data = v.from(40, v.u16(4));
  while (EXTENSIONS6.includes(next)) {
    next = data.u8(0);
    data = data.from((data.u8(1) + 1) * 8);
  }
  if (next === FRAGMENT6) {
    const place = data.u16(2), offset = place & 0xfff8;
    words.push(`frag ${offset}${place & 1 ? "+" : ""}`);
    next = offset > 0 ? NO_NEXT6 : data.u8(0);
    data = data.from(8);
  }
  if (next === NO_NEXT6) words.push(ends.src, ">", ends.dst, `len ${data.length}`);
  else transport(data, next, ends, words);
}

function transport(v: View, proto: number, { src, dst }: { src: string; dst: string }, words: string[]): void {
  const name = PROTOCOLS[proto] ?? `proto ${proto}`;
  if (name === "TCP" || name === "UDP") words.push(`${src}.${v.u16(0)}`, ">", `${dst}.${v.u16(2)}`, name);
  else words.push(src, ">", dst, name);
  if (name === "TCP") tcp(v, words);
  else if (name === "UDP") udp(v, words);
  else if (name === "ICMP") icmp(v, ICMP4, words);
  else if (name === "ICMP6") icmp(v, ICMP6, words);
  else words.push(`len ${v.length}`);
}

function tcp(v: View, words: string[]): void {
  const bits = v.u8(13),
    flags = [...TCP_FLAGS].filter((_, bit) => bits & 1 << bit).join(""),
    headBytes = (v.u8(12) >> 4) * 4;
  words.push(flags || "-", `seq ${v.u32(4)}`);
  if (bits & 16) words.push(`ack ${v.u32(8)}`);
  words.push(`win ${v.u16(14)}`);
  if (headBytes < 20 || headBytes > v.length) throw new Short();
  const options = tcpOptions(v.from(20, headBytes - 20));
  if (options !== "") words.push(`<${options}>`);
  words.push(`len ${v.length - headBytes}`);
}

function tcpOptions(v: View): string {
  const words: string[] = [];
  for (let at = 0; at < v.length && v.u8(at) !== 0;) {
    const kind = v.u8(at);
    if (kind === 1) {
      at++;
      continue;
    }
    const length = v.u8(at + 1);
    if (length < 2) break;
    words.push(tcpOption(kind, v.from(at + 2, length - 2)));
    at += length;
  }
  return words.join(",");
}

function tcpOption(kind: number, v: View): string {
  if (kind === 2) return `mss ${v.u16(0)}`;
  if (kind === 3) return `wscale ${v.u8(0)}`;
  if (kind === 4) return "sackOK";
  if (kind === 8) return `ts ${v.u32(0)}:${v.u32(4)}`;
  if (kind !== 5) return `opt ${kind}`;
  const ranges = Array.from({ length: v.length >> 3 }, (_, i) => `${v.u32(i * 8)}-${v.u32(i * 8 + 4)}`);
  return `sack ${ranges.join(" ")}`;
}

function udp(v: View, words: string[]): void {
  const data = v.from(8), ports = [v.u16(0), v.u16(2)];
  words.push(`len ${v.u16(4) - 8}`);
  if (ports.some((port) => DNS_PORTS.includes(port))) words.push(...describeDns(data));
  if (ports.every((port) => DHCP_PORTS.includes(port))) words.push(...describeDhcp(data));
}

function icmp(v: View, names: Record<number, string>, words: string[]): void {
  const type = v.u8(0), name = names[type] ?? `type ${type}`;
  words.push(name);
  if (name.startsWith("echo")) words.push(`id ${v.u16(4)} seq ${v.u16(6)}`);
  else if (name === "who-has" || name === "is-at") words.push(formatIp(v.slice(8, 16)));
  else if (v.u8(1) > 0) words.push(`code ${v.u8(1)}`);
  words.push(`len ${v.length}`);
}

function mac(v: View, at: number): string {
  return Array.from(v.slice(at, 6), (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function dotted(v: View, at: number): string {
  return v.slice(at, 4).join(".");
}
