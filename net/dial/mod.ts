/**
 * `ring9/net`: dialing through the files of a `/net`, for programs, and for whoever has mounted one. Re-exports only.
 *
 * Layer: net, a front door.
 *
 * @example Through another machine's network
 * ```ts
 * import { Client, dial } from "ring9";
 * import { dial as dialOver } from "ring9/net";
 * async function page(gate = "tcp!127.0.0.1!5640"): Promise<string> {
 *   await using client = await Client.connect(await dial(gate), { uname: "glenda" });
 *   await using conn = await dialOver(client, "tcp!10.0.0.1!http");
 *   await conn.writeAll(new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"));
 *   return await new Response(conn.readable).text();
 * }
 * ```
 *
 * @example In a program
 * ```ts
 * import { defineProgram } from "ring9/proc";
 * import { filesOf, listen } from "ring9/net";
 * export default defineProgram(async ({ async }) => {
 *   for await (const conn of await listen(filesOf(async), { port: 7 })) {
 *     conn.readable.pipeTo(conn.writable).catch(() => {}).finally(() => conn.close());
 *   }
 * });
 * ```
 *
 * @module
 */

export { announce, Announcement, Call, dial, type DialOptions, translate, type Way } from "./dial.ts";
export { Conn, type ConnInfo } from "./conn.ts";
export { connect, type EndOptions, listen, type NetAddr, NetConn, NetListener } from "./facade.ts";
export { FdFile, type FileCalls, filesOf, type NetFile, type NetFiles, readTextOf } from "./files.ts";
export { type DialString, makeDialString, parseDialString } from "../dial_string.ts";
export { formatIp, type Ip, isIpv4, isLinkLocal, parseIp } from "../addr.ts";
