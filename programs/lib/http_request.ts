/**
 * Requests as httpd gets them: checked once, then trusted.
 *
 * Layer: programs/lib, over http.ts.
 *
 * See RFC 9112, sections 3, 6 and 9.
 */

import { Err } from "ring9/proc";
import type { ByteReader } from "./bytes.ts";
import { type Fields, lengthOf, readFields, readStart } from "./http.ts";

/** A request. */
export interface Request {
  method: string;
  /** As it was written. */
  target: string;
  /** The names of its path, decoded; none is empty, `.` or `..`. */
  names: string[];
  /** Whether the path ended with a slash. */
  slash: boolean;
  /** HTTP/1.`minor`. */
  minor: number;
  fields: Fields;
  /** Whether the client would go on on this connection. */
  keeps: boolean;
}

/** Bodies of requests that are read and thrown away, at the most; after a larger one the connection ends. */
const MAX_BODY_BYTES = 64 * 1024;

/** Reads a request; null when there is none any more. Throws EPROTO, EINVAL, EMSGSIZE for what is none. */
export async function parseRequest(reader: ByteReader): Promise<Request | null> {
  const line = await readStart(reader);
  if (line === null) return null;
  const [, method, target, minorText] = /^([A-Z]{1,20}) (\S+) HTTP\/1\.([01])$/.exec(line) ?? [];
  if (method === undefined) throw new Err("EPROTO", "not a request line of HTTP/1.1");
  const fields = await readFields(reader), minor = Number(minorText);
  if (minor === 1 && !fields.has("host")) throw new Err("EPROTO", "no Host field");
  const connection = (fields.get("connection") ?? "").toLowerCase().split(",").map((word) => word.trim());
  const wants = minor === 1 ? !connection.includes("close") : connection.includes("keep-alive");
  const keeps = await skipBody(reader, fields) && wants;
  return { method, target, ...namesOf(target), minor, fields, keeps };
}

/** Reads over a body; false when the connection is of no more use. */
async function skipBody(reader: ByteReader, fields: Fields): Promise<boolean> {
  if (fields.has("transfer-encoding")) return false;
  const length = lengthOf(fields.get("content-length") ?? "0");
  if (length > MAX_BODY_BYTES) return false;
  await reader.exactly(length);
  return true;
}

/** The path of a target, in origin or absolute form. */
function namesOf(target: string): { names: string[]; slash: boolean } {
  const [path] = target.replace(/^http:\/\/[^/?#]*(?=[/?#]|$)/i, "").split(/[?#]/), names: string[] = [];
  if (path !== "" && !path.startsWith("/")) throw new Err("EINVAL", "not a path");
  for (const part of path.split("/")) {
    const name = decoded(part);
    if (name === ".." || /[/\0]/.test(name)) throw new Err("EINVAL", "a path leads nowhere but down");
    if (name !== "" && name !== ".") names.push(name);
  }
  return { names, slash: path === "" || path.endsWith("/") };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Err("EINVAL", "not UTF-8");
  }
}
