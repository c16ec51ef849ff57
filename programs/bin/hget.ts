/**
 * hget: fetches a page by HTTP/1.1. The manual page is man/hget.md.
 *
 * Layer: programs, over /net. There is no TLS.
 */

import { dial } from "ring9/net";
import { Err } from "ring9/proc";
import { ByteReader } from "../lib/bytes.ts";
import { readBody, readResponse, type Response } from "../lib/http.ts";
import { complain, defineTool, type Running, writeAll } from "../lib/tool.ts";

const REDIRECTS = [301, 302, 303, 307, 308];
const MAX_REDIRECTS = 5;

export default defineTool({
  usage: "hget [-v] [-o file] [-r redirects] [-x netdir] url",
  flags: "vo:r:x:",
  words: [1, 1],
  async run(tool) {
    let url = urlOf(tool.words[0]);
    const most = tool.flags.number("r", { otherwise: MAX_REDIRECTS, least: 0, most: 50 });
    for (let hops = 0;; hops++) {
      const next = await fetchPage(tool, url);
      if (next === undefined) return;
      if (hops === most) return `${url.href}: more than ${most} redirects`;
      url = urlOf(next, url);
    }
  },
});

/** A URL that can be fetched. */
function urlOf(text: string, base?: URL): URL {
  let url;
  try {
    url = new URL(base || /^\w+:\/\//.test(text) ? text : `http://${text}`, base);
  } catch {
    throw new Err("EINVAL", `not a URL: ${text}`);
  }
  if (url.protocol === "https:") throw new Err("EOPNOTSUPP", `${url.href}: there is no TLS here, only http:`);
  if (url.protocol !== "http:") throw new Err("EOPNOTSUPP", `${url.href}: only http: can be fetched`);
  return url;
}

/** Fetches one page; answers where else it is, if the server says so. */
async function fetchPage(tool: Running, url: URL): Promise<string | undefined> {
  const host = url.hostname.replace(/^\[|\]$/g, ""), netdir = tool.flags.text("x");
  await using conn = await dial(tool.files, `tcp!${host}!${url.port || 80}`, { netdir });
  await conn.writeAll(new TextEncoder().encode(requestOf(url)));
  const reader = new ByteReader(conn), response = await readResponse(reader), { status, fields } = response;
  if (tool.flags.has("v")) complain(tool, headOf(response));
  const location = fields.get("location");
  if (REDIRECTS.includes(status) && location !== undefined) return location;
  if (status < 200 || status > 299) throw new Err("EIO", `${url.href}: ${status} ${response.reason}`.trimEnd());
  await save(tool, reader, response);
}

function requestOf(url: URL): string {
  return `GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nUser-Agent: hget/ring9\r\n` +
    "Accept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n";
}

function headOf({ status, reason, fields }: Response): string {
  return `${status} ${reason}\n${[...fields].map(([name, value]) => `${name}: ${value}\n`).join("")}`;
}

async function save(tool: Running, reader: ByteReader, response: Response): Promise<void> {
  const path = tool.flags.text("o"), fd = path === undefined ? 1 : tool.sys.create(path);
  try {
    for await (const part of readBody(reader, response)) writeAll(tool, fd, part);
  } finally {
    if (fd !== 1) tool.sys.close(fd);
  }
}
