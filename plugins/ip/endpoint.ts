/**
 * The addresses that are written to ctl files: `connect addr!port[!r] [[addr!]port]`, `announce [addr!]port`.
 *
 * Layer: plugins/ip, a leaf.
 *
 * See ip(3) of Plan 9.
 */

import { Err } from "../../core/err.ts";
import { type Ip, isUnspecified, UNSPECIFIED } from "../../net/addr.ts";
import { type Endpoint, parseEndpoint } from "../../net/dial_string.ts";
import { quote } from "./command.ts";

/** Plan 9's ports of `!r`: only a privileged user's program has one. */
export const RESTRICTED = { first: 600, last: 1023 } as const;

/** Where a conversation goes, and from where. */
export interface Call {
  remote: Ip;
  port: number;
  /** UNSPECIFIED: what the route has. */
  local: Ip;
  /** 0: any. */
  localPort: number;
  restricted: boolean;
}

/** The words of a connect. */
export function callOf([to, from]: string[]): Call {
  const remote = endpointOf(to), local = from === undefined ? undefined : endpointOf(from);
  if (remote.addr === undefined) throw new Err("EINVAL", `${quote(to)}: an address is needed, ADDR!PORT`);
  return {
    remote: remote.addr,
    port: remote.port,
    local: local?.addr ?? UNSPECIFIED,
    localPort: local?.port ?? 0,
    restricted: remote.restricted,
  };
}

/** The word of an announce or a bind: UNSPECIFIED for all addresses, port 0 for any that is free. */
export function placeOf(word: string): { local: Ip; port: number } {
  const { addr, port } = endpointOf(word);
  if (/(^|!)\*$/.test(word)) {
    throw new Err("EOPNOTSUPP", `${quote(word)}: all ports at once can not be had (try: 0 for one that is free)`);
  }
  return { local: addr === undefined || isUnspecified(addr) ? UNSPECIFIED : addr, port };
}

function endpointOf(word: string): Endpoint {
  const endpoint = parseEndpoint(word);
  if (endpoint === undefined) throw new Err("EINVAL", `${quote(word)} is no ADDR!PORT`);
  return endpoint;
}
