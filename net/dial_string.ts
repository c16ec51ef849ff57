/**
 * Dial strings: `[[/net/]proto!]host[!service]`, and the addresses that the ctl files of conversations take.
 *
 * Layer: net, a leaf, pure.
 *
 * See dial(2), "netmkaddr" there, and ip(3) of Plan 9.
 */

import { formatIp, type Ip, parseIp } from "./addr.ts";

/** A dial string, taken apart. */
export interface DialString {
  /** Where the network's files are. */
  netdir: string;
  /** `net`: any protocol. */
  proto: string;
  /** What stands behind the protocol's `!`: the host, and the service if there is one. */
  address: string;
}

/** A dial string's parts: without a protocol it is `net`, and a protocol with a path says where its files are. */
export function parseDialString(text: string, netdir = "/net"): DialString {
  const bang = text.indexOf("!");
  if (bang < 0) return { netdir, proto: "net", address: text };
  const proto = text.slice(0, bang), address = text.slice(bang + 1), slash = proto.lastIndexOf("/");
  if (!proto.startsWith("/") || slash <= 0) return { netdir, proto, address };
  return { netdir: proto.slice(0, slash), proto: proto.slice(slash + 1), address };
}

/** A dial string that is whole, of one that may lack its protocol or its service: dial(2)'s netmkaddr. */
export function makeDialString(text: string, proto = "net", service?: string): string {
  const parts = text.split("!");
  const tail = service === undefined ? "" : `!${service}`;
  if (parts.length === 1) return `${proto}!${text}${tail}`;
  return parts.length === 2 ? text + tail : text;
}

/** One end of a conversation, as `connect`, `announce` and `bind` take it. */
export interface Endpoint {
  /** Undefined: any, or the one that fits. */
  addr?: Ip;
  /** 0 with `*`: any. */
  port: number;
  /** The local port is to be one below 1024, `!r`. */
  restricted: boolean;
}

/** `A!P`, `A!P!r`, `*!P`, `P` or `*`; undefined for anything else. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const parts = text.split("!"), restricted = parts.length === 3 && parts[2] === "r";
  if (restricted) parts.pop();
  if (parts.length > 2) return undefined;
  const portText = parts.pop()!, host = parts[0] ?? "*";
  const addr = host === "*" ? undefined : parseIp(host), port = portText === "*" ? 0 : parsePort(portText);
  if (port === undefined || host !== "*" && addr === undefined) return undefined;
  return { addr, port, restricted };
}

/** As `local` and `remote` files have it. */
export function formatEndpoint(addr: Ip, port: number): string {
  return `${formatIp(addr)}!${port}`;
}

/** A port number. */
export function parsePort(text: string): number | undefined {
  return /^\d{1,5}$/.test(text) && Number(text) <= 0xffff ? Number(text) : undefined;
}
