/**
 * deno-9p: 9P2000, 9P2000.u and 9P2000.L, client and server. Re-exports only.
 *
 * Layer: the front door of core/p9. Depends on nothing of the rest of ring9; transports that touch the host are in
 * `core/host/transports.ts`.
 */

export { type Code, Err, errFromEname, errFromErrno, ERRORS, toErr } from "../err.ts";
export * from "./types.ts";
export * from "./msg.ts";
export * from "./mode.ts";
export { Reader, Writer } from "./cursor.ts";
export { decodeR, decodeT, encode, HEADER_BYTES } from "./codec.ts";
export { decodeUtf8, encodeUtf8, isUtf8, utf8Length } from "./utf8.ts";
export type { Transport } from "./transport.ts";
export { type PairOptions, transportPair } from "./transport_pair.ts";
export { type Address, formatDial, isLoopback, parseDial, PORT_9FS } from "./dial.ts";
export { type Call, type CallState, type Done, Rpc, type RpcOptions } from "./client_rpc.ts";
export type { Replies, ReplyTo } from "./client_replies.ts";
export { type Attach, FidOps, type Opened, type Place, type Signal, type Walked } from "./client_ops.ts";
export type { OpenFile } from "./client_io.ts";
export { type OpenOptions, RemoteFile, splitPath, type StreamOptions } from "./client_file.ts";
export { Client, type ClientOptions } from "./client.ts";
