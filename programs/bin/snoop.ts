/**
 * snoop: what passes on an interface or in a conversation, a line a packet, or as a capture file. The manual page is man/snoop.md.
 *
 * Layer: programs, over the snoop files of /net, which are captures already.
 */

import { ByteReader } from "../lib/bytes.ts";
import { describe } from "../lib/packet.ts";
import { LINKTYPE_ETHERNET, type PcapRecord, readPcap } from "../lib/pcap.ts";
import { defineTool, type Running, writeAll } from "../lib/tool.ts";

export default defineTool({
  usage: "snoop [-n count] [-w file] [-x netdir] [ether0 | ipifc/1 | tcp/3 | file]",
  flags: "n:w:x:",
  words: [0, 1],
  async run(tool) {
    const path = await pathOf(tool), out = tool.flags.text("w");
    const count = tool.flags.number("n", { otherwise: Infinity, least: 1, most: Number.MAX_SAFE_INTEGER });
    const fd = await tool.async.open(path), outFd = out === undefined ? -1 : tool.sys.create(out);
    let offset = 0;
    const reader = new ByteReader({
      read: async (into) => {
        const got = await tool.async.pread(fd, into, offset);
        offset += got;
        return got;
      },
    });
    let seen = 0, startMs: number | undefined;
    for await (const { header, linktype, records } of readPcap(reader)) {
      if (outFd >= 0 && header) writeAll(tool, outFd, header);
      for (const record of records) {
        startMs ??= record.ms;
        if (outFd >= 0) writeAll(tool, outFd, record.bytes);
        else tool.print(lineOf(record, startMs, linktype));
        if (++seen === count) return;
      }
    }
  },
});

/** The capture to read: of the first Ethernet interface, when none is named. */
async function pathOf({ async, flags, words: [what] }: Running): Promise<string> {
  const netdir = flags.text("x", "/net");
  const name = what ?? (await async.readdir(netdir)).map((dir) => dir.name).find((each) => each.startsWith("ether")) ??
    "ipifc/1";
  const path = name.startsWith("/") ? name : `${netdir}/${name}`;
  return await async.stat(`${path}/snoop`).then(() => `${path}/snoop`, () => path);
}

/** `0.001234 74 IP 10.0.0.1 > 10.0.0.2 ...` */
function lineOf({ ms, frame }: PcapRecord, startMs: number, linktype: number): string {
  const words = describe(frame, linktype === LINKTYPE_ETHERNET ? "ether" : "ip");
  return `${((ms - startMs) / 1000).toFixed(6)} ${frame.length} ${words}\n`;
}
