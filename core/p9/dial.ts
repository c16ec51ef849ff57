/**
 * Dial strings: where a 9P server is, as one word. `tcp!host!port`, `unix!/path`, `ws!url`.
 *
 * Layer: core/p9, pure. What connects to an address is in core/host/transports.ts. A string that is none of these is
 * refused with what to write instead; nothing is guessed, so that a typing error reaches no other host.
 *
 * See dial(3) of Plan 9.
 */

import { Err, excerpt, PATH_CHARS } from "../err.ts";

/** The port of 9P over TCP: Plan 9's service `9fs`. */
export const PORT_9FS = 564;

/** Where a 9P server is. */
export type Address =
  | { net: "tcp"; host: string; port: number }
  | { net: "unix"; path: string }
  | { net: "ws"; url: string };

/** Plan 9's names of the ports that 9P is found at. */
const SERVICES: Record<string, number> = { "9fs": PORT_9FS, "9p": PORT_9FS, "styx": 6666 };

const FORMS = "tcp!host!port, unix!/path or ws!ws://host/path";

/**
 * Parses a dial string. `tcp!host` alone means port 564; an IPv6 address stands as it is (`tcp!::1!564`).
 * Throws EINVAL with what is wrong and what to write.
 *
 * @example
 * ```ts
 * import { parseDial } from "deno-9p";
 * const a = parseDial("tcp!127.0.0.1!5640");
 * console.assert(a.net === "tcp" && a.port === 5640);
 * ```
 */
export function parseDial(text: string): Address {
  const bang = text.indexOf("!");
  if (bang < 0) throw bad(text, suggestion(text));
  const net = text.slice(0, bang), rest = text.slice(bang + 1);
  switch (net) {
    case "tcp":
      return parseTcp(text, rest);
    case "unix":
      if (rest === "") throw bad(text, "the path of the socket is missing");
      if (rest.includes("\0")) throw bad(text, "the path holds a NUL byte");
      return { net, path: rest };
    case "ws":
      return { net, url: parseUrl(text, rest) };
    default:
      throw bad(text, `the network '${net}' is unknown; a dial string is ${FORMS}`);
  }
}

/** The dial string of an address: what `parseDial` reads back. */
export function formatDial(address: Address): string {
  switch (address.net) {
    case "tcp":
      return `tcp!${address.host}!${address.port}`;
    case "unix":
      return `unix!${address.path}`;
    case "ws":
      return `ws!${address.url}`;
  }
}

/** Whether only this machine reaches the address: a unix socket, or a loopback one. */
export function isLoopback(address: Address): boolean {
  switch (address.net) {
    case "unix":
      return true;
    case "tcp":
      return isLoopbackHost(address.host);
    case "ws":
      return isLoopbackHost(new URL(address.url).hostname.replace(/^\[|\]$/g, ""));
  }
}

function isLoopbackHost(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

function parseTcp(text: string, rest: string): Address {
  const bang = rest.lastIndexOf("!");
  const host = bang < 0 ? rest : rest.slice(0, bang);
  const service = bang < 0 ? "9fs" : rest.slice(bang + 1);
  if (host === "") throw bad(text, "the host is missing; for this machine write tcp!127.0.0.1!port");
  if (!/^[A-Za-z0-9._:%-]+$/.test(host)) throw bad(text, `'${host}' is no host name or address`);
  const port = SERVICES[service] ?? (/^\d{1,5}$/.test(service) ? Number(service) : NaN);
  if (!(port >= 0 && port <= 65535)) throw bad(text, `'${service}' is no port; write a number from 0 to 65535, or 9fs`);
  return { net: "tcp", host, port };
}

function parseUrl(text: string, rest: string): string {
  let url: URL;
  try {
    url = new URL(rest);
  } catch (e) {
    throw bad(text, `'${rest}' is no URL; write ws!ws://host:port/path`, e);
  }
  if (url.protocol !== "ws:" && url.protocol !== "wss:") {
    throw bad(text, `the URL must start with ws:// or wss://, not ${url.protocol}//`);
  }
  return url.href;
}

/** What somebody probably meant who wrote no `!` at all. */
function suggestion(text: string): string {
  if (text.startsWith("/") || text.startsWith("./")) return `for a unix socket write unix!${text}`;
  if (/^wss?:\/\//.test(text)) return `for a WebSocket write ws!${text}`;
  const hostPort = /^\[?([A-Za-z0-9._:-]+?)\]?:(\d+)$/.exec(text);
  if (hostPort) return `for TCP write tcp!${hostPort[1]}!${hostPort[2]}`;
  return `a dial string is ${FORMS}`;
}

function bad(text: string, why: string, cause?: unknown): Err {
  return new Err("EINVAL", `bad dial string '${excerpt(text, PATH_CHARS)}': ${why}`, { cause });
}
