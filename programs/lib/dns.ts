/**
 * Questions to a `/net/dns` file: a query is written, its answers are read.
 *
 * Layer: programs/lib, under dnsquery.
 *
 * See ndb(8), "Dns" of Plan 9.
 */

import { type NetFiles, parseIp } from "ring9/net";
import { ORDWR } from "ring9/proc";

const ROOM_BYTES = 8192;

/** The lines of the answer to `name type`. Throws when the name or the type is not there. */
export async function queryDns(files: NetFiles, query: string, netdir = "/net"): Promise<string[]> {
  const dns = await files.open(`${netdir}/dns`, ORDWR), room = new Uint8Array(ROOM_BYTES), lines: string[] = [];
  try {
    await dns.write(new TextEncoder().encode(query), 0);
    for (let at = 0, count; (count = await dns.read(room, at)) > 0; at += count) {
      lines.push(...new TextDecoder().decode(room.subarray(0, count)).split("\n"));
    }
    return lines.filter((line) => line !== "");
  } finally {
    await dns.close();
  }
}

/** Whether a text is an address, of which a name is asked. */
export function isAddress(text: string): boolean {
  return parseIp(text) !== undefined;
}
