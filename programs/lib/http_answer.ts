/**
 * What httpd answers: files whole and in part, directories as pages, and why not.
 *
 * Layer: programs/lib, over the files of the name space. A file whose length is not known (most of /dev, /proc and /net say 0) is sent
 * until its end.
 *
 * See RFC 9110: conditional requests (13), ranges (14), methods (9).
 */

import { type AsyncSys, type Dir, DMDIR, Err, toErr } from "ring9/proc";
import { typeOf } from "./http_types.ts";
import { listing } from "./http_listing.ts";
import type { Request } from "./http_request.ts";

/** An answer. */
export interface Answered {
  status: number;
  reason: string;
  fields: Record<string, string>;
  /** Bytes of the body; undefined when nobody knows before its end. */
  length: number | undefined;
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  /** Lets go of what the body is read from. */
  close(): Promise<void>;
}

const REASONS: Record<number, string> = {
  200: "OK",
  206: "Partial Content",
  301: "Moved Permanently",
  304: "Not Modified",
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  416: "Range Not Satisfiable",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
};

const STATUS_OF: Record<string, number> = {
  ENOENT: 404,
  ENOTDIR: 404,
  ENAMETOOLONG: 404,
  ENXIO: 404,
  EACCES: 403,
  EPERM: 403,
};
const PIECE_BYTES = 64 * 1024;
const INDEX = "index.html";

/** Answers a request for something below `root`. */
export async function answer(sys: AsyncSys, root: string, request: Request): Promise<Answered> {
  const { method, names, slash } = request;
  if (method !== "GET" && method !== "HEAD") return failure(405, `${method} is not for files`, { Allow: "GET, HEAD" });
  const path = [root, ...names].join("/") || "/";
  try {
    const dir = await sys.stat(path);
    if (!(dir.mode & DMDIR)) {
      return slash && names.length > 0 ? failure(404) : await fileAnswer(sys, path, dir, request);
    }
    if (!slash) return failure(301, "", { Location: `/${names.map(encodeURIComponent).join("/")}/` });
    const index = `${path}/${INDEX}`, found = await sys.stat(index).catch(missing);
    if (found && !(found.mode & DMDIR)) return await fileAnswer(sys, index, found, request);
    return page(200, listing(names, await sys.readdir(path)));
  } catch (thrown) {
    return failure(STATUS_OF[toErr(thrown).code] ?? 500);
  }
}

/** An answer that says what is wrong. */
export function failure(status: number, why = "", fields: Record<string, string> = {}): Answered {
  const text = `${status} ${REASONS[status]}${why === "" ? "" : `: ${why}`}\n`;
  return page(status, text, { "Content-Type": "text/plain; charset=utf-8", ...fields });
}

function page(status: number, text: string, fields: Record<string, string> = {}): Answered {
  const bytes = new TextEncoder().encode(text);
  const all = { "Content-Type": "text/html; charset=utf-8", ...fields };
  return { status, reason: REASONS[status], fields: all, length: bytes.length, body: [bytes], close: async () => {} };
}

async function fileAnswer(sys: AsyncSys, path: string, dir: Dir, { fields: asked }: Request): Promise<Answered> {
  const size = Number(dir.length), modified = new Date(dir.mtime * 1000).toUTCString();
  const etag = `"${dir.qid.path.toString(16)}-${dir.qid.vers.toString(16)}-${size.toString(16)}"`;
  const fields: Record<string, string> = { "Content-Type": typeOf(path), "Last-Modified": modified, ETag: etag };
  if (isUnchanged(asked, etag, dir.mtime)) return { ...page(304, ""), fields, length: undefined };
  if (size === 0) return await opened(sys, path, { status: 200, fields, start: 0, end: Infinity });
  fields["Accept-Ranges"] = "bytes";
  const validator = asked.get("if-range"),
    holds = validator === undefined || validator === etag || validator === modified;
  const range = holds ? rangeOf(asked.get("range"), size) : undefined;
  if (range === null) return failure(416, "", { "Content-Range": `bytes */${size}` });
  if (range === undefined) return await opened(sys, path, { status: 200, fields, start: 0, end: size });
  fields["Content-Range"] = `bytes ${range.start}-${range.end - 1}/${size}`;
  return await opened(sys, path, { status: 206, fields, ...range });
}

interface Span {
  start: number;
  /** Infinity: until the file's end, wherever that is. */
  end: number;
}

async function opened(
  sys: AsyncSys,
  path: string,
  { status, fields, start, end }: Span & { status: number; fields: Record<string, string> },
): Promise<Answered> {
  const fd = await sys.open(path), length = end === Infinity ? undefined : end - start;
  const close = () => sys.close(fd);
  return { status, reason: REASONS[status], fields, length, body: pieces(sys, fd, { start, end }), close };
}

/** The file's bytes, each piece borrowed until the next. A file that is shorter than it said ends the connection. */
async function* pieces(sys: AsyncSys, fd: number, { start, end }: Span): AsyncGenerator<Uint8Array> {
  const room = new Uint8Array(PIECE_BYTES);
  for (let at = start; at < end;) {
    const count = await sys.pread(fd, room.subarray(0, Math.min(PIECE_BYTES, end - at)), at);
    if (count === 0 && end === Infinity) return;
    if (count === 0) throw new Err("EIO", "the file has become shorter");
    yield room.subarray(0, count);
    at += count;
  }
}

/** Whether the client has the file as it is: If-None-Match decides, or else If-Modified-Since. */
function isUnchanged(asked: Request["fields"], etag: string, mtime: number): boolean {
  const tags = asked.get("if-none-match");
  if (tags !== undefined) {
    return tags.trim() === "*" || tags.split(",").some((tag) => tag.trim().replace(/^W\//, "") === etag);
  }
  const since = Date.parse(asked.get("if-modified-since") ?? "");
  return mtime * 1000 <= since;
}

/** One range of bytes; undefined when there is none, or several, and the whole file is the answer; null when it is not there. */
export function rangeOf(text: string | undefined, size: number): Span | undefined | null {
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(text?.replaceAll(" ", "") ?? "") ?? [];
  if (first === undefined || first === "" && last === "") return undefined;
  if (first === "") return Number(last) === 0 ? null : { start: Math.max(size - Number(last), 0), end: size };
  const start = Number(first), end = last === "" ? size : Math.min(Number(last) + 1, size);
  if (last !== "" && Number(last) < start) return undefined;
  return start < size ? { start, end } : null;
}

function missing(thrown: unknown): undefined {
  if (toErr(thrown).code !== "ENOENT") throw thrown;
}
