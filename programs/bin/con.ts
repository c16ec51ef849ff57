/**
 * con: a terminal's lines to a conversation, and what comes from it to the terminal. The manual page is man/con.md.
 *
 * Layer: programs, over /net.
 */

import { type Conn, dial, makeDialString } from "ring9/net";
import { Telnet } from "../lib/telnet.ts";
import { complain, defineTool, type Running, writeAll } from "../lib/tool.ts";

const ROOM_BYTES = 64 * 1024;

export default defineTool({
  usage: "con [-tv] [-x netdir] [net!]host[!service]",
  flags: "tvx:",
  words: [1, 2],
  async run(tool) {
    const { flags, words: [host, port], files } = tool;
    const address = port === undefined ? host : `${host}!${port}`;
    const conn = await dial(files, withNet(address), { netdir: flags.text("x") });
    if (flags.has("v")) complain(tool, `connected to ${(await conn.info()).remote}\n`);
    void send(tool, conn);
    await receive(tool, conn);
  },
});

/** `host`, `host!port` and `net!host!port` are all taken. */
function withNet(text: string): string {
  const parts = text.split("!");
  if (parts.length === 1) return makeDialString(text, "tcp", "telnet");
  return parts.length === 2 && !/^(\/.*|tcp|udp|net)$/.test(parts[0])
    ? `tcp!${text}`
    : makeDialString(text, "tcp", "telnet");
}

/** File 0 until its end. */
async function send({ async, exit }: Running, conn: Conn): Promise<void> {
  const room = new Uint8Array(ROOM_BYTES);
  try {
    for (let count; (count = await async.read(0, room)) > 0;) await conn.writeAll(room.subarray(0, count));
    await conn.closeWrite();
  } catch (thrown) {
    exit((thrown as Error).message);
  }
}

/** To file 1 until the other side has sent all. */
async function receive(tool: Running, conn: Conn): Promise<void> {
  const room = new Uint8Array(ROOM_BYTES), telnet = tool.flags.has("t") ? new Telnet() : null;
  for (let count; (count = await conn.read(room)) > 0;) {
    const bytes = room.subarray(0, count);
    if (!telnet) writeAll(tool, 1, bytes);
    else {
      writeAll(tool, 1, telnet.input(bytes));
      await conn.writeAll(telnet.answers());
    }
  }
}
