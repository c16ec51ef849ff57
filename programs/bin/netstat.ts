/**
 * netstat: the conversations of a network, its interfaces, its counters. The manual page is man/netstat.md.
 *
 * Layer: programs, over the status files of /net.
 */

import { type NetFiles, readTextOf } from "ring9/net";
import { table } from "../lib/table.ts";
import { defineTool, type Running } from "../lib/tool.ts";

/** Folders of /net with conversations that nobody means who asks for connections. */
const NO_CONVERSATIONS = ["ipifc"];

export default defineTool({
  usage: "netstat [-is] [-p proto] [netdir]",
  flags: "isp:",
  words: [0, 1],
  async run(tool) {
    const { flags, words: [netdir = "/net"], files } = tool, only = flags.text("p");
    if (flags.has("i")) return tool.print(await interfaces(tool, netdir));
    const protos = only === undefined ? await protocols(tool, netdir) : [only];
    if (flags.has("s")) {
      for (const proto of protos) {
        tool.print(`${proto}\n${indented(await readTextOf(files, `${netdir}/${proto}/stats`))}`);
      }
      return;
    }
    const rows: string[][] = [];
    for (const proto of protos) rows.push(...await conversations(tool, netdir, proto));
    tool.print(table(["conv", "owner", "state", "qin", "qout", "local", "remote"], rows));
  },
});

/** The protocols that there are: folders with a clone file. */
async function protocols({ async }: Running, netdir: string): Promise<string[]> {
  const found: string[] = [];
  for (const { name } of await async.readdir(netdir)) {
    const isProto = !NO_CONVERSATIONS.includes(name) && !name.startsWith("ether") &&
      await async.stat(`${netdir}/${name}/clone`).then(() => true, () => false);
    if (isProto) found.push(name);
  }
  return found;
}

/** A row for each conversation of a protocol; one that ends meanwhile is left out. */
async function conversations({ async, files }: Running, netdir: string, proto: string): Promise<string[][]> {
  const rows: string[][] = [], folder = `${netdir}/${proto}`;
  const numbers = (await async.readdir(folder)).map(({ name }) => name).filter((name) => /^\d+$/.test(name));
  for (const number of numbers.sort((a, b) => Number(a) - Number(b))) {
    const row = await rowOf(files, `${folder}/${number}`).catch(() => undefined);
    if (!row) continue;
    const owner = await async.stat(`${folder}/${number}/ctl`).then(({ uid }) => uid, () => "-");
    rows.push([`${proto}/${number}`, owner, ...row]);
  }
  return rows;
}

async function rowOf(files: NetFiles, dir: string): Promise<string[]> {
  const [status, local, remote] = await Promise.all(
    ["status", "local", "remote"].map((name) => readTextOf(files, `${dir}/${name}`)),
  );
  const [state, ...pairs] = status.split(/\s+/), of = (name: string) => pairs[pairs.indexOf(name) + 1] ?? "0";
  return [state, of("qin"), of("qout"), local.trim(), remote.trim()];
}

async function interfaces({ async, files }: Running, netdir: string): Promise<string> {
  let text = "";
  for (const { name } of await async.readdir(`${netdir}/ipifc`)) {
    if (!/^\d+$/.test(name)) continue;
    const [line, ...addresses] = (await readTextOf(files, `${netdir}/ipifc/${name}/status`)).split("\n");
    text += `ipifc/${name} ${line}\n${indented(addresses.map((each) => each.trim()).join("\n"))}`;
  }
  return text;
}

function indented(text: string): string {
  return text.split("\n").filter((line) => line !== "").map((line) => `\t${line}\n`).join("");
}
