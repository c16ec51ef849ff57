/**
 * deno-9p: 9P2000, 9P2000.u and 9P2000.L, client and server. Re-exports only.
 *
 * Layer: the front door of core/p9, with the file contract that its server serves (core/dev.ts) and the transports of
 * the host (core/host/transports.ts). Depends on nothing of the rest of ring9.
 *
 * @example A client
 * ```ts
 * import { Client, dial } from "deno-9p";
 * async function sysname(address = "tcp!127.0.0.1!5640"): Promise<string> {
 *   await using client = await Client.connect(await dial(address), { uname: "glenda" });
 *   return await client.readText("/dev/sysname");
 * }
 * ```
 *
 * @example A server
 * ```ts
 * import { type Dev, listen, Srv } from "deno-9p";
 * async function share(dev: Dev): Promise<void> {
 *   const srv = new Srv(dev);
 *   for await (const transport of await listen("tcp!127.0.0.1!5640")) srv.serve(transport);
 * }
 * ```
 *
 * @module
 */

export { type Code, Err, errFromEname, errFromErrno, ERRORS, toErr } from "../err.ts";
export * from "./types.ts";
export * from "./msg.ts";
export * from "./mode.ts";
export { Reader, Writer } from "./cursor.ts";
export { decodeR, decodeT, encode, HEADER_BYTES } from "./codec.ts";
export { decodeUtf8, encodeUtf8, isUtf8, utf8Length } from "./utf8.ts";
export type { Block, Blocks, Transport } from "./transport.ts";
export { type PairOptions, transportPair } from "./transport_pair.ts";
export { type Address, formatDial, isLoopback, parseDial, PORT_9FS } from "./dial.ts";
export { type Call, type CallState, type Done, Rpc, type RpcOptions } from "./client_rpc.ts";
export type { Replies, ReplyTo } from "./client_replies.ts";
export { type Attach, FidOps, type Opened, type Place, type Signal, type Walked } from "./client_ops.ts";
export type { OpenFile } from "./client_io.ts";
export { type OpenOptions, RemoteFile, splitPath, type StreamOptions } from "./client_file.ts";
export { Client, type ClientOptions } from "./client.ts";
export { Chan, type Create, Dev, Req, type User, type Walk } from "../dev.ts";
export type { Clock } from "../clock.ts";
export { claimedUser, DEFAULT_LIMITS, Srv, type SrvLimits, type SrvOptions, type SrvStats } from "./srv.ts";
export type { BufferPool } from "./output.ts";
export { type WebSocketOptions, type WebSocketTransport, webSocketTransport } from "./transport_ws.ts";
export { portTransport } from "./transport_port.ts";
export { childTransport, connTransport, dial, listen, type Listener, stdioTransport } from "../host/transports.ts";
