/**
 * ring9: a microkernel in user space that serves Plan 9 file trees. Re-exports only.
 *
 * @example Use another system's files
 * ```ts
 * import { Client, dial } from "ring9";
 * async function devices(address = "tcp!127.0.0.1!5640"): Promise<string[]> {
 *   await using client = await Client.connect(await dial(address), { uname: "glenda" });
 *   return (await client.list("/dev")).map((dir) => dir.name);
 * }
 * ```
 *
 * @example A plugin
 * ```ts
 * import { definePlugin, tree } from "ring9/plugin";
 * export default definePlugin({ start: (ctx) => tree({ hello: "hello, world\n" }, ctx) });
 * ```
 *
 * @module
 */

export { boot, type BootOptions } from "./cmd/boot.ts";
export { Client, type ClientOptions, RemoteFile } from "./core/p9/mod.ts";
export { Mnt, type MntOptions } from "./core/mnt.ts";
export type { MntFile } from "./core/mnt_file.ts";
export { dial, listen, type Listener } from "./core/host/transports.ts";
export { Srv, type SrvOptions } from "./core/p9/srv.ts";
export * from "./core/plugin/author.ts";
