/**
 * dnsquery: asks the name service of a /net. The manual page is man/dnsquery.md.
 *
 * Layer: programs, over /net/dns.
 */

import { isAddress, queryDns } from "../lib/dns.ts";
import { defineTool } from "../lib/tool.ts";

export default defineTool({
  usage: "dnsquery [-x netdir] name [type]",
  flags: "x:",
  words: [1, 2],
  async run({ files, flags, words: [name, type], print }) {
    const asked = type ?? (isAddress(name) ? "ptr" : "ip");
    for (const line of await queryDns(files, `${name} ${asked}`, flags.text("x"))) print(`${line}\n`);
  },
});
