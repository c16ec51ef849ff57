/**
 * HTTP/1.1's messages: header lines, bodies, the client's side of a GET.
 *
 * Layer: programs/lib, under hget and httpd. What comes is bounded: lines, headers, their number.
 *
 * See RFC 9112 (messages), RFC 9110 (semantics).
 */

import { Err } from "ring9/proc";
import type { ByteReader } from "./bytes.ts";

/** Bytes of one line, and header lines of one message, at the most. */
const LINE_BYTES = 8192, MAX_HEADERS = 100;

/** Header fields; names in lower case. Several of one name are joined by commas. */
export type Fields = Map<string, string>;

/** Reads fields up to the empty line. Throws EMSGSIZE, EPROTO. */
export async function readFields(reader: ByteReader): Promise<Fields> {
  const fields: Fields = new Map();
  for (let lines = 0;; lines++) {
    const line = await reader.line(LINE_BYTES);
    if (line === null) throw new Err("EPROTO", "the connection ended within the header");
    if (line === "") return fields;
    if (lines === MAX_HEADERS) throw new Err("EMSGSIZE", `more than ${MAX_HEADERS} header lines`);
    const [, name, value] = /^([!#$%&'*+\-.^_`|~\w]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === undefined) throw new Err("EPROTO", `not a header line: ${JSON.stringify(line.slice(0, 60))}`);
    const key = name.toLowerCase(), before = fields.get(key);
    fields.set(key, before === undefined ? value : `${before}, ${value}`);
  }
}

/** The first line of a message, empty ones before it skipped; null when there is none. */
export async function readStart(reader: ByteReader): Promise<string | null> {
  for (let tries = 0; tries < 4; tries++) {
    const line = await reader.line(LINE_BYTES);
    if (line !== "") return line;
  }
  throw new Err("EPROTO", "no message");
}

/** The answer to a request, up to its body. */
export interface Response {
  status: number;
  reason: string;
  fields: Fields;
}

/** Reads a status line and fields; interim answers (1xx) are passed over. */
export async function readResponse(reader: ByteReader): Promise<Response> {
  for (;;) {
    const line = await readStart(reader);
    const [, code, reason = ""] = /^HTTP\/1\.[01] (\d{3})(?: (.*))?$/.exec(line ?? "") ?? [];
    if (code === undefined) throw new Err("EPROTO", line === null ? "no answer" : "not an HTTP/1.1 answer");
    const response = { status: Number(code), reason, fields: await readFields(reader) };
    if (response.status >= 200) return response;
  }
}

/** The body of a response, piece by piece, each borrowed until the next. Throws EPROTO when it ends too early. */
export async function* readBody(reader: ByteReader, { status, fields }: Response): AsyncGenerator<Uint8Array> {
  if (status === 204 || status === 304) return;
  const codings = fields.get("transfer-encoding")?.toLowerCase();
  if (codings === "chunked") return yield* readChunked(reader);
  if (codings !== undefined) throw new Err("EOPNOTSUPP", `transfer coding ${codings}`);
  const length = fields.get("content-length");
  if (length !== undefined) return yield* readLength(reader, lengthOf(length));
  for (let part; (part = await reader.some()).length > 0;) yield part;
}

/** A Content-Length. Several that are equal count as one (RFC 9112, 6.3). */
export function lengthOf(text: string): number {
  const [first, ...others] = text.split(",").map((each) => each.trim());
  if (/^\d{1,15}$/.test(first) && others.every((each) => each === first)) return Number(first);
  throw new Err("EPROTO", `not a length: ${text.slice(0, 40)}`);
}

async function* readLength(reader: ByteReader, length: number): AsyncGenerator<Uint8Array> {
  for (let left = length; left > 0;) {
    const part = await reader.some(left);
    if (part.length === 0) throw new Err("EPROTO", `the connection ended after ${length - left} of ${length} bytes`);
    left -= part.length;
    yield part;
  }
}

async function* readChunked(reader: ByteReader): AsyncGenerator<Uint8Array> {
  for (;;) {
    const line = await reader.line(LINE_BYTES), [, digits] = /^([\da-fA-F]{1,12})[ \t]*(;.*)?$/.exec(line ?? "") ?? [];
    if (digits === undefined) throw new Err("EPROTO", "not a chunk's length");
    const length = parseInt(digits, 16);
    if (length === 0) break;
    yield* readLength(reader, length);
    if (await reader.line(LINE_BYTES) !== "") throw new Err("EPROTO", "a chunk is longer than its length");
  }
  await readFields(reader); // trailers
}
