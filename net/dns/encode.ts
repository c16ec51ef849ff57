/**
 * DNS messages to bytes.
 *
 * Layer: net/dns. Names are compressed where RFC 3597 allows it: owners, and names in the data of the types of RFC 1035.
 * What does not fit into the room given is left out by whole records, and the message says that it is truncated.
 *
 * See RFC 1035, 4; RFC 2181, 9 (truncation); RFC 6891.
 */

import { isIpv4 } from "../addr.ts";
import { set16, set32 } from "../wire/packet.ts";
import { DNS_HEADER_BYTES } from "./decode.ts";
import { canonicalName, parseName } from "./name.ts";
import { DNS_TYPE, type DnsMessage, type DnsRecord, type RData } from "./record.ts";

/** Largest message, by TCP. */
export const MAX_MESSAGE_BYTES = 65_535;

/** No room is left. */
class Full extends Error {}

/** Most messages are no longer. */
const USUAL_BYTES = 512;

/** Writes on, and knows where names were written. */
class Writer {
  at = DNS_HEADER_BYTES;
  bytes: Uint8Array<ArrayBuffer>;
  private readonly names = new Map<string, number>();

  constructor(private readonly room: number) {
    this.bytes = new Uint8Array(Math.min(room, USUAL_BYTES));
  }

  need(count: number): number {
    const at = this.at, end = at + count;
    if (end > this.room) throw new Full();
    if (end > this.bytes.length) this.grow(end);
    this.at = end;
    return at;
  }

  u8(value: number): void {
    const at = this.need(1);
    this.bytes[at] = value;
  }

  u16(value: number): void {
    const at = this.need(2);
    set16(this.bytes, at, value);
  }

  u32(value: number): void {
    const at = this.need(4);
    set32(this.bytes, at, value);
  }

  put(bytes: Uint8Array): void {
    const at = this.need(bytes.length);
    this.bytes.set(bytes, at);
  }

  name(text: string, compress = true): void {
    const labels = parseName(text);
    if (labels === undefined) throw new RangeError(`not a domain name: ${JSON.stringify(text)}`);
    for (let i = 0; i < labels.length; i++) {
      const rest = labels.slice(i).map((label) => String.fromCharCode(label.length, ...label)).join("");
      const key = canonicalName(rest), seen = this.names.get(key);
      if (compress && seen !== undefined) return this.u16(0xc000 | seen);
      if (seen === undefined && this.at < 0x4000) this.names.set(key, this.at);
      this.u8(labels[i].length);
      this.put(labels[i]);
    }
    this.u8(0);
  }

  private grow(end: number): void {
    const more = new Uint8Array(Math.min(Math.max(2 * this.bytes.length, end), this.room));
    more.set(this.bytes);
    this.bytes = more;
  }

  /** Forgets what was written from `at` on. */
  rewind(at: number): void {
    this.at = at;
    for (const [key, offset] of this.names) if (offset >= at) this.names.delete(key);
  }
}

/** The bytes of a message, at most `room`. A name that is none throws a RangeError: it is the caller's own. */
export function encodeMessage(message: DnsMessage, room = MAX_MESSAGE_BYTES): Uint8Array<ArrayBuffer> {
  // EDNS0's record goes last, and is never what is left out.
  const ednsBytes = message.edns ? 11 + message.edns.options.length : 0;
  const writer = new Writer(Math.max(Math.min(room, MAX_MESSAGE_BYTES) - ednsBytes, DNS_HEADER_BYTES));
  const counts = [0, 0, 0, 0];
  const truncated = !writeAll(writer, message, counts) || message.truncated;
  const bytes = new Uint8Array(writer.at + ednsBytes);
  bytes.set(writer.bytes.subarray(0, writer.at));
  if (message.edns) counts[3] += writeEdns(bytes, writer.at, message);
  set16(bytes, 0, message.id);
  set16(bytes, 2, flagsOf(message, truncated));
  counts.forEach((count, i) => set16(bytes, 4 + 2 * i, count));
  return bytes;
}

function flagsOf(message: DnsMessage, truncated: boolean): number {
  return (message.isResponse ? 0x8000 : 0) | message.opcode << 11 | (message.authoritative ? 0x0400 : 0) |
    (truncated ? 0x0200 : 0) | (message.recursionDesired ? 0x0100 : 0) | (message.recursionAvailable ? 0x0080 : 0) |
    (message.authenticData ? 0x0020 : 0) | (message.checkingDisabled ? 0x0010 : 0) | message.rcode & 15;
}

function writeAll(writer: Writer, message: DnsMessage, counts: number[]): boolean {
  let mark = writer.at;
  try {
    for (const { name, type, class: klass } of message.questions) {
      writer.name(name);
      writer.u16(type);
      writer.u16(klass);
      mark = writer.at;
      counts[0]++;
    }
    for (const [i, section] of [message.answers, message.authority, message.additional].entries()) {
      for (const record of section) {
        writeRecord(writer, record);
        mark = writer.at;
        counts[i + 1]++;
      }
    }
    return true;
  } catch (thrown) {
    if (!(thrown instanceof Full)) throw thrown;
    writer.rewind(mark);
    return false;
  }
}

function writeEdns(bytes: Uint8Array, at: number, { edns, rcode }: DnsMessage): 1 {
  const { udpBytes, version, dnssecOk, options } = edns!;
  set16(bytes, at + 1, DNS_TYPE.OPT);
  set16(bytes, at + 3, udpBytes);
  set32(bytes, at + 5, rcode >>> 4 << 24 | version << 16 | (dnssecOk ? 0x8000 : 0));
  set16(bytes, at + 9, options.length);
  bytes.set(options, at + 11);
  return 1;
}

function writeRecord(writer: Writer, { name, type, class: klass, ttl, data }: DnsRecord): void {
  writer.name(name);
  writer.u16(type);
  writer.u16(klass);
  writer.u32(ttl);
  const lengthAt = writer.need(2);
  writeData(writer, data);
  set16(writer.bytes, lengthAt, writer.at - lengthAt - 2);
}

function writeData(writer: Writer, data: RData): void {
  switch (data.kind) {
    case "ip":
      return writer.put(isIpv4(data.ip) ? data.ip.subarray(12) : data.ip);
    case "name":
      return writer.name(data.name);
    case "mx":
      writer.u16(data.preference);
      return writer.name(data.exchange);
    case "txt":
      for (const text of data.texts) {
        writer.u8(text.length);
        writer.put(text);
      }
      return;
    case "soa":
      writer.name(data.mname);
      writer.name(data.rname);
      for (const value of [data.serial, data.refresh, data.retry, data.expire, data.minimum]) writer.u32(value);
      return;
    case "srv":
      for (const value of [data.priority, data.weight, data.port]) writer.u16(value);
      return writer.name(data.target, false);
    case "caa":
      writer.u8(data.flags);
      writer.u8(data.tag.length);
      writer.put(Uint8Array.from(data.tag, (char) => char.charCodeAt(0)));
      return writer.put(data.value);
    case "raw":
      return writer.put(data.bytes);
  }
}
