/**
 * ttcp: measures how much passes by TCP between two hosts, by iperf3's protocol. The manual page is man/ttcp.md.
 *
 * Layer: programs, over /net. lib/iperf.ts is the protocol, lib/iperf_streams.ts sends and receives.
 */

import { serve } from "../lib/iperf_server.ts";
import { measure } from "../lib/iperf_client.ts";
import { defineTool } from "../lib/tool.ts";

export default defineTool({
  usage:
    "ttcp [-R] [-t seconds | -n bytes] [-P streams] [-l bytes] [-p port] [-x netdir] host\n       ttcp -s [-1] [-p port] [-x netdir]",
  flags: "s1Rt:n:P:l:p:x:",
  words: [0, 1],
  async run(tool) {
    const { flags, words: [host] } = tool;
    const port = flags.number("p", { otherwise: 5201, least: 1, most: 65535 });
    if (flags.has("s") === (host !== undefined)) tool.misused();
    if (host === undefined) return await serve(tool, { port, once: flags.has("1") });
    return await measure(tool, host, {
      port,
      reverse: flags.has("R"),
      seconds: flags.number("t", { otherwise: flags.has("n") ? 0 : 10, least: 0, most: 86400 }),
      bytes: flags.number("n", { otherwise: 0, least: 1, most: Number.MAX_SAFE_INTEGER }),
      streams: flags.number("P", { otherwise: 1, least: 1, most: 64 }),
      blockBytes: flags.number("l", { otherwise: 128 * 1024, least: 1, most: 1 << 20 }),
    });
  },
});
