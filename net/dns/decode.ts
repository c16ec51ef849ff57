/**
 * DNS messages from bytes.
 *
 * Layer: net/dns. Bytes come from anybody: lengths, counts and compression are checked, and what is no message is undefined. A
 * message that says that it was truncated may end in a record's middle; what is whole of it counts.
 *
 * See RFC 1035, 4; RFC 6891, 6.1; RFC 3597 (unknown types).
 */

import { ipFromV4 } from "../addr.ts";
import { get16, get32 } from "../wire/packet.ts";
import { decodeName } from "./name.ts";
import { DNS_TYPE, type DnsMessage, type DnsRecord, type Question, type RData } from "./record.ts";

export const DNS_HEADER_BYTES = 12;

/** A bound for each section. */
const MAX_RECORDS = 2000, MAX_QUESTIONS = 16;

/** What is read from, and where from. */
interface Cursor {
  bytes: Uint8Array;
  start: number;
  at: number;
  end: number;
}

/** The message in bytes [at, end); undefined when it is none. */
export function decodeMessage(bytes: Uint8Array, at = 0, end = bytes.length): DnsMessage | undefined {
  if (end - at < DNS_HEADER_BYTES) return undefined;
  const flags = get16(bytes, at + 2), count = (i: number) => get16(bytes, at + 4 + 2 * i);
  if (count(0) > MAX_QUESTIONS || count(1) > MAX_RECORDS || count(2) > MAX_RECORDS || count(3) > MAX_RECORDS) {
    return undefined;
  }
  const cursor = { bytes, start: at, at: at + DNS_HEADER_BYTES, end }, truncated = (flags & 0x0200) !== 0;
  const questions = readQuestions(cursor, count(0));
  if (questions === undefined) return undefined;
  const sections: DnsRecord[][] = [];
  for (let i = 1; i <= 3; i++) {
    const section: DnsRecord[] = [];
    sections.push(section);
    if (!readSection(cursor, count(i), section) && !truncated) return undefined;
  }
  const message: DnsMessage = {
    id: get16(bytes, at),
    isResponse: (flags & 0x8000) !== 0,
    opcode: flags >> 11 & 15,
    authoritative: (flags & 0x0400) !== 0,
    truncated,
    recursionDesired: (flags & 0x0100) !== 0,
    recursionAvailable: (flags & 0x0080) !== 0,
    authenticData: (flags & 0x0020) !== 0,
    checkingDisabled: (flags & 0x0010) !== 0,
    rcode: flags & 15,
    questions,
    answers: sections[0],
    authority: sections[1],
    additional: sections[2],
  };
  return takeEdns(message) ? message : undefined;
}

/** Makes `edns` of the OPT record; false when there are two. */
function takeEdns(message: DnsMessage): boolean {
  const opts = message.additional.filter((record) => record.type === DNS_TYPE.OPT);
  if (opts.length === 0) return true;
  const [{ class: udpBytes, ttl, data, name }] = opts;
  if (opts.length > 1 || name !== "") return false;
  message.additional = message.additional.filter((record) => record.type !== DNS_TYPE.OPT);
  message.rcode |= (ttl >>> 24) << 4;
  message.edns = {
    udpBytes,
    version: ttl >>> 16 & 255,
    dnssecOk: (ttl & 0x8000) !== 0,
    options: data.kind === "raw" ? data.bytes : new Uint8Array(0),
  };
  return true;
}

function readQuestions(cursor: Cursor, count: number): Question[] | undefined {
  const questions: Question[] = [];
  for (let i = 0; i < count; i++) {
    const name = readName(cursor);
    if (name === undefined || cursor.at + 4 > cursor.end) return undefined;
    questions.push({ name, type: get16(cursor.bytes, cursor.at), class: get16(cursor.bytes, cursor.at + 2) });
    cursor.at += 4;
  }
  return questions;
}

function readSection(cursor: Cursor, count: number, section: DnsRecord[]): boolean {
  for (let i = 0; i < count; i++) {
    const record = readRecord(cursor);
    if (record === undefined) return false;
    section.push(record);
  }
  return true;
}

function readRecord(cursor: Cursor): DnsRecord | undefined {
  const { bytes } = cursor, name = readName(cursor), at = cursor.at;
  if (name === undefined || at + 10 > cursor.end) return undefined;
  const type = get16(bytes, at), length = get16(bytes, at + 8), ttl = get32(bytes, at + 4);
  const dataAt = at + 10, dataEnd = dataAt + length;
  if (dataEnd > cursor.end) return undefined;
  cursor.at = dataEnd;
  const within = { bytes, start: cursor.start, at: dataAt, end: dataEnd };
  const data = readData(type, within) ?? { kind: "raw", bytes: bytes.slice(dataAt, dataEnd) };
  // RFC 2181, 8: a TTL with its top bit set is 0. OPT keeps flags there.
  return { name, type, class: get16(bytes, at + 2), ttl: type === DNS_TYPE.OPT ? ttl : Math.max(ttl, 0), data };
}

function readName(cursor: Cursor): string | undefined {
  const name = decodeName(cursor.bytes, cursor.at, cursor.end, cursor.start);
  if (name === undefined) return undefined;
  cursor.at = name.end;
  return name.text;
}

/** Data of a known type that fills its room exactly. */
function readData(type: number, cursor: Cursor): RData | undefined {
  const data = readKnown(type, cursor);
  return cursor.at === cursor.end ? data : undefined;
}

function readKnown(type: number, cursor: Cursor): RData | undefined {
  const { bytes, at, end } = cursor, size = end - at;
  switch (type) {
    case DNS_TYPE.A:
      cursor.at += 4;
      return size === 4 ? { kind: "ip", ip: ipFromV4(get32(bytes, at)) } : undefined;
    case DNS_TYPE.AAAA:
      cursor.at += 16;
      return size === 16 ? { kind: "ip", ip: bytes.slice(at, end) } : undefined;
    case DNS_TYPE.NS:
    case DNS_TYPE.CNAME:
    case DNS_TYPE.PTR: {
      const name = readName(cursor);
      return name === undefined ? undefined : { kind: "name", name };
    }
    case DNS_TYPE.MX: {
      cursor.at += 2;
      const exchange = size > 2 ? readName(cursor) : undefined;
      return exchange === undefined ? undefined : { kind: "mx", preference: get16(bytes, at), exchange };
    }
    case DNS_TYPE.TXT:
      return readTexts(cursor);
    case DNS_TYPE.SOA:
      return readSoa(cursor);
    case DNS_TYPE.SRV: {
      cursor.at += 6;
      const target = size > 6 ? readName(cursor) : undefined;
      const [priority, weight, port] = [0, 2, 4].map((offset) => get16(bytes, at + offset));
      return target === undefined ? undefined : { kind: "srv", priority, weight, port, target };
    }
    case DNS_TYPE.CAA:
      return readCaa(cursor);
  }
  return undefined;
}

function readTexts(cursor: Cursor): RData | undefined {
  const texts: Uint8Array[] = [];
  while (cursor.at < cursor.end) {
    const from = cursor.at + 1, to = from + cursor.bytes[cursor.at];
    if (to > cursor.end) return undefined;
    texts.push(cursor.bytes.slice(from, to));
    cursor.at = to;
  }
  return texts.length > 0 ? { kind: "txt", texts } : undefined;
}

function readSoa(cursor: Cursor): RData | undefined {
  const mname = readName(cursor), rname = mname === undefined ? undefined : readName(cursor), at = cursor.at;
  if (mname === undefined || rname === undefined || at + 20 > cursor.end) return undefined;
  const [serial, refresh, retry, expire, minimum] = [0, 4, 8, 12, 16].map((offset) =>
    get32(cursor.bytes, at + offset) >>> 0
  );
  cursor.at += 20;
  return { kind: "soa", mname, rname, serial, refresh, retry, expire, minimum };
}

function readCaa(cursor: Cursor): RData | undefined {
  const { bytes, at, end } = cursor, tagEnd = at + 2 + bytes[at + 1];
  if (end - at < 2 || tagEnd > end) return undefined;
  cursor.at = end;
  const tag = String.fromCharCode(...bytes.subarray(at + 2, tagEnd));
  return /^[a-z0-9]+$/i.test(tag) ? { kind: "caa", flags: bytes[at], tag, value: bytes.slice(tagEnd, end) } : undefined;
}
