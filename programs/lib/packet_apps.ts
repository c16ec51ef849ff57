/**
 * What is in datagrams of DNS and DHCP, as words.
 *
 * Layer: programs/lib, pure, beside packet.ts.
 *
 * See RFC 1035, RFC 2131.
 */

import type { View } from "./packet.ts";

const DNS_TYPES: Record<number, string> = {
  1: "A",
  2: "NS",
  5: "CNAME",
  6: "SOA",
  12: "PTR",
  15: "MX",
  16: "TXT",
  28: "AAAA",
  33: "SRV",
  255: "ANY",
};
const RCODES = ["", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
const DHCP_TYPES = ["", "discover", "offer", "request", "decline", "ack", "nak", "release", "inform"];
const DHCP_FIELDS_BYTES = 240, DHCP_MESSAGE_TYPE = 53, DHCP_PAD = 0, DHCP_END = 255;

/** `DNS 4711 query A www.example.com`, `DNS 4711 answer A www.example.com 2 answers`. */
export function describeDns(v: View): string[] {
  const flags = v.u16(2),
    isAnswer = (flags & 0x8000) !== 0,
    words = ["DNS", String(v.u16(0)), isAnswer ? "answer" : "query"];
  let at = 12, name = "";
  for (let length; v.u16(4) > 0 && (length = v.u8(at)) > 0 && length < 64; at += length + 1) {
    name += `${String.fromCharCode(...v.slice(at + 1, length)).replace(/[^!-~]/g, "?")}.`;
  }
  if (name !== "") words.push(DNS_TYPES[v.u16(at + 1)] ?? `type ${v.u16(at + 1)}`, name.slice(0, -1));
  if (isAnswer) words.push(RCODES[flags & 15] || `${v.u16(6)} answers`);
  if (flags & 0x0200) words.push("truncated");
  return words;
}

/** `DHCP ack 10.0.0.5 for 00:11:22:33:44:55`. */
export function describeDhcp(v: View): string[] {
  const yours = v.slice(16, 4).join("."),
    mac = Array.from(v.slice(28, 6), (byte) => byte.toString(16).padStart(2, "0"));
  for (let at = DHCP_FIELDS_BYTES; at < v.length && v.u8(at) !== DHCP_END;) {
    const option = v.u8(at);
    if (option === DHCP_PAD) at++;
    else if (option !== DHCP_MESSAGE_TYPE) at += 2 + v.u8(at + 1);
    else return ["DHCP", DHCP_TYPES[v.u8(at + 2)] ?? "?", ...yours === "0.0.0.0" ? [] : [yours], "for", mac.join(":")];
  }
  return ["BOOTP", "for", mac.join(":")];
}
