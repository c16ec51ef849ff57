/**
 * DHCPv4 messages: the fixed part as a checked view, options by code, and how a client's messages are written.
 *
 * Layer: net/dhcp; inside of UDP, ports 67 (server) and 68 (client). `parse` walks all options once, those in the `sname` and
 * `file` fields too when option 52 says so; an option that occurs several times is one value, in the order of its parts.
 *
 * See RFC 2131, 2; RFC 2132; RFC 3396 (long options).
 */

import { type Fault, get16, get32, Packet, put, set16, set32 } from "../wire/packet.ts";

export const DHCP_SERVER_PORT = 67, DHCP_CLIENT_PORT = 68;

/** Message types, the values of option 53. */
export const DHCP_TYPE = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;

/** Option codes. */
export const DHCP_OPTION = {
  pad: 0,
  mask: 1,
  router: 3,
  dns: 6,
  hostname: 12,
  domain: 15,
  mtu: 26,
  broadcast: 28,
  ntp: 42,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  serverId: 54,
  parameterList: 55,
  message: 56,
  maxMessageSize: 57,
  t1: 58,
  t2: 59,
  vendorClass: 60,
  clientId: 61,
  domainSearch: 119,
  classlessRoutes: 121,
  end: 255,
} as const;

/** Bytes before the options: the fixed part and the cookie. */
export const DHCP_FIXED_BYTES = 240;
/** No message is shorter: BOOTP relays may drop one that is. */
const MIN_BYTES = 300;

const BOOTREQUEST = 1, BOOTREPLY = 2, ETHERNET = 1, COOKIE = 0x63825363 | 0, FLAG_BROADCAST = 0x8000;

/** Offsets of fields. */
const OP = 0, HTYPE = 1, HLEN = 2, XID = 4, SECS = 8, FLAGS = 10, CIADDR = 12, YIADDR = 16, SIADDR = 20, GIADDR = 24;
const CHADDR = 28, SNAME = 44, FILE = 108, MAGIC = 236;

/** A message, from whoever. Addresses are numbers. */
export class DhcpMessage extends Packet {
  private readonly values = new Map<number, Uint8Array>();

  parse(bytes: Uint8Array, at = 0, end = bytes.length): Fault | undefined {
    if (end - at < DHCP_FIXED_BYTES) return "short";
    if (get32(bytes, at + MAGIC) !== COOKIE) return "version";
    if (bytes[at + HTYPE] !== ETHERNET || bytes[at + HLEN] !== 6) return "field";
    if (bytes[at + OP] !== BOOTREQUEST && bytes[at + OP] !== BOOTREPLY) return "field";
    this.point(bytes, at, end);
    this.values.clear();
    if (!this.walk(at + DHCP_FIXED_BYTES, end)) return "option";
    const overload = this.byte(DHCP_OPTION.overload) ?? 0;
    if (overload & 1 && !this.walk(at + FILE, at + MAGIC)) return "option";
    if (overload & 2 && !this.walk(at + SNAME, at + FILE)) return "option";
    const type = this.type;
    return type >= DHCP_TYPE.discover && type <= DHCP_TYPE.inform ? undefined : "field";
  }

  get payloadAt(): number {
    return this.at + DHCP_FIXED_BYTES;
  }

  get isReply(): boolean {
    return this.bytes[this.at + OP] === BOOTREPLY;
  }

  /** One of DHCP_TYPE; 0 when there is none. */
  get type(): number {
    return this.byte(DHCP_OPTION.messageType) ?? 0;
  }

  get xid(): number {
    return get32(this.bytes, this.at + XID);
  }

  get secs(): number {
    return get16(this.bytes, this.at + SECS);
  }

  get broadcast(): boolean {
    return (get16(this.bytes, this.at + FLAGS) & FLAG_BROADCAST) !== 0;
  }

  get ciaddr(): number {
    return get32(this.bytes, this.at + CIADDR);
  }

  get yiaddr(): number {
    return get32(this.bytes, this.at + YIADDR);
  }

  get siaddr(): number {
    return get32(this.bytes, this.at + SIADDR);
  }

  get giaddr(): number {
    return get32(this.bytes, this.at + GIADDR);
  }

  /** The client's MAC address, a window on the message. */
  get chaddr(): Uint8Array {
    return this.bytes.subarray(this.at + CHADDR, this.at + CHADDR + 6);
  }

  /** An option's value, or undefined. */
  option(code: number): Uint8Array | undefined {
    return this.values.get(code);
  }

  /** The value of an option of one byte. */
  byte(code: number): number | undefined {
    const value = this.values.get(code);
    return value?.length === 1 ? value[0] : undefined;
  }

  /** The value of an option of two bytes. */
  word(code: number): number | undefined {
    const value = this.values.get(code);
    return value?.length === 2 ? get16(value, 0) : undefined;
  }

  /** The value of an option of four bytes, an int32: an address, or a time (`>>> 0`). */
  long(code: number): number | undefined {
    const value = this.values.get(code);
    return value?.length === 4 ? get32(value, 0) : undefined;
  }

  /** The addresses of an option that lists some; empty when it is not there or not whole. */
  addresses(code: number): number[] {
    const value = this.values.get(code);
    if (value === undefined || value.length % 4 !== 0) return [];
    return Array.from({ length: value.length / 4 }, (_, i) => get32(value, i * 4));
  }

  /** The printable ASCII text of an option, without NULs at its end; undefined when it is empty or holds anything else. */
  text(code: number): string | undefined {
    const value = this.values.get(code);
    if (value === undefined) return undefined;
    const text = String.fromCharCode(...value).replace(/\0+$/, "");
    return /^[\x21-\x7e]+$/.test(text) ? text : undefined;
  }

  private walk(at: number, end: number): boolean {
    const { bytes, values } = this;
    while (at < end) {
      const code = bytes[at++];
      if (code === DHCP_OPTION.pad) continue;
      if (code === DHCP_OPTION.end) return true;
      if (at >= end || at + 1 + bytes[at] > end) return false;
      const value = bytes.subarray(at + 1, at + 1 + bytes[at]), before = values.get(code);
      values.set(code, before === undefined ? value : Uint8Array.of(...before, ...value));
      at += 1 + value.length;
    }
    // No end: the field is full, which RFC 2131 does not allow, and servers do.
    return true;
  }
}

/** What a client, or a server, writes. */
export interface DhcpFields {
  reply?: boolean;
  xid: number;
  secs: number;
  broadcast: boolean;
  ciaddr?: number;
  yiaddr?: number;
  mac: Uint8Array;
  /** One of DHCP_TYPE. */
  type: number;
  /** Options beside the type, in the order in which they are written; values below 256 bytes each. */
  options: readonly (readonly [code: number, value: Uint8Array])[];
}

/** The bytes of a message. */
export function encodeDhcp(fields: DhcpFields): Uint8Array<ArrayBuffer> {
  const options = fields.options.reduce((sum, [, value]) => sum + 2 + value.length, 3 + 1);
  const bytes = new Uint8Array(Math.max(DHCP_FIXED_BYTES + options, MIN_BYTES));
  bytes.set([fields.reply ? BOOTREPLY : BOOTREQUEST, ETHERNET, 6]);
  set32(bytes, XID, fields.xid);
  set16(bytes, SECS, fields.secs);
  set16(bytes, FLAGS, fields.broadcast ? FLAG_BROADCAST : 0);
  set32(bytes, CIADDR, fields.ciaddr ?? 0);
  set32(bytes, YIADDR, fields.yiaddr ?? 0);
  put(bytes, CHADDR, fields.mac);
  set32(bytes, MAGIC, COOKIE);
  let at = DHCP_FIXED_BYTES;
  for (const [code, value] of [[DHCP_OPTION.messageType, Uint8Array.of(fields.type)] as const, ...fields.options]) {
    bytes[at] = code;
    bytes[at + 1] = value.length;
    bytes.set(value, at + 2);
    at += 2 + value.length;
  }
  bytes[at] = DHCP_OPTION.end;
  return bytes;
}

/** A 32-bit value for an option. */
export function long(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  set32(bytes, 0, value);
  return bytes;
}
