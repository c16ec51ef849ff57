/**
 * DNS vocabulary: types, codes, questions and resource records as values.
 *
 * Layer: net/dns, a leaf. A record's data is by kind, and several types share one; data of a type that is not known here,
 * or that is not as its type wants it, is `raw`.
 *
 * See RFC 1035, 3; RFC 3596 (AAAA); RFC 2782 (SRV); RFC 8659 (CAA); RFC 6891 (EDNS0).
 */

import type { Ip } from "../addr.ts";

/** Types by name. */
export const DNS_TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  CAA: 257,
  ANY: 255,
} as const;

export const CLASS_IN = 1;

/** Response codes. */
export const RCODE = { noError: 0, formErr: 1, servFail: 2, nxDomain: 3, notImp: 4, refused: 5, badVers: 16 } as const;

/** What a record says. */
export type RData =
  /** A (mapped) and AAAA. */
  | { kind: "ip"; ip: Ip }
  /** NS, CNAME, PTR. */
  | { kind: "name"; name: string }
  | { kind: "mx"; preference: number; exchange: string }
  | { kind: "txt"; texts: Uint8Array[] }
  | {
    kind: "soa";
    mname: string;
    rname: string;
    serial: number;
    refresh: number;
    retry: number;
    expire: number;
    minimum: number;
  }
  | { kind: "srv"; priority: number; weight: number; port: number; target: string }
  | { kind: "caa"; flags: number; tag: string; value: Uint8Array }
  | { kind: "raw"; bytes: Uint8Array };

/** A resource record. */
export interface DnsRecord {
  name: string;
  type: number;
  class: number;
  /** Seconds. */
  ttl: number;
  data: RData;
}

/** A question. */
export interface Question {
  name: string;
  type: number;
  class: number;
}

/** EDNS0, what the OPT record holds. */
export interface Edns {
  /** Bytes of a UDP message that its sender takes. */
  udpBytes: number;
  version: number;
  dnssecOk: boolean;
  /** Options as they are on the wire. */
  options: Uint8Array;
}

/** A message. */
export interface DnsMessage {
  id: number;
  isResponse: boolean;
  opcode: number;
  authoritative: boolean;
  truncated: boolean;
  recursionDesired: boolean;
  recursionAvailable: boolean;
  authenticData: boolean;
  checkingDisabled: boolean;
  /** With EDNS0's upper bits. */
  rcode: number;
  questions: Question[];
  answers: DnsRecord[];
  authority: DnsRecord[];
  additional: DnsRecord[];
  edns?: Edns;
}

/** A message with everything that is not given empty. */
export function makeMessage(part: Partial<DnsMessage>): DnsMessage {
  return {
    id: 0,
    isResponse: false,
    opcode: 0,
    authoritative: false,
    truncated: false,
    recursionDesired: false,
    recursionAvailable: false,
    authenticData: false,
    checkingDisabled: false,
    rcode: 0,
    questions: [],
    answers: [],
    authority: [],
    additional: [],
    ...part,
  };
}
