/**
 * Append logs: the last bytes of what was appended, followed as it grows.
 *
 * Layer: core, the helper layer for plugin authors. What holds always: an open file's offset 0 is the oldest byte kept
 * when it was opened, and offsets count on from there, so that `tail -f` works. A reader that was overtaken goes on
 * with the oldest byte that is left. Memory is one ring of `maxBytes`.
 */

import { Err } from "./err.ts";
import { DMAPPEND } from "./p9/types.ts";
import { reads, writes } from "./tree_file.ts";
import { type Attr, bytesOf, FileNode, type Handle, type Opening, type Value } from "./tree_node.ts";

/** How a log behaves. */
export interface LogSpec extends Attr {
  /** Bytes kept. */
  maxBytes?: number;
  /** True lets clients append by writing. */
  writable?: boolean;
}

/** A file that keeps the last of what is appended to it. */
export function appendLog(spec: LogSpec = {}): LogFile {
  return new LogFile(spec);
}

/** A log: what `appendLog` makes. */
export class LogFile extends FileNode {
  readonly #ring: Uint8Array;
  readonly #writable: boolean;
  /** Bytes ever appended. */
  #end = 0;

  constructor(spec: LogSpec) {
    super(spec, DMAPPEND | (spec.writable ? 0o644 : 0o444));
    this.#ring = new Uint8Array(spec.maxBytes ?? 65536);
    this.#writable = spec.writable ?? false;
  }

  /** Adds to the end; what no longer fits goes from the start. */
  append(value: Value): void {
    const bytes = bytesOf(value);
    const size = this.#ring.length;
    const kept = bytes.length > size ? bytes.subarray(bytes.length - size) : bytes;
    const at = (this.#end + bytes.length - kept.length) % size;
    const first = Math.min(kept.length, size - at);
    this.#ring.set(kept.subarray(0, first), at);
    this.#ring.set(kept.subarray(first), 0);
    this.#end += bytes.length;
  }

  open(how: Opening): Handle {
    const handle: Handle = {};
    const base = this.#start();
    if (reads(how.mode)) handle.read = (dst, offset) => this.#copy(base + offset, dst);
    if (writes(how.mode)) {
      if (!this.#writable) throw new Err("EACCES");
      handle.write = (data) => {
        this.append(data);
        this.touch(how.now());
        return data.length;
      };
    }
    return handle;
  }

  override length(): number {
    return this.#end - this.#start();
  }

  #start(): number {
    return Math.max(0, this.#end - this.#ring.length);
  }

  #copy(from: number, dst: Uint8Array): number {
    const position = Math.max(from, this.#start());
    const count = Math.min(dst.length, this.#end - position);
    if (count <= 0) return 0;
    const at = position % this.#ring.length;
    const first = Math.min(count, this.#ring.length - at);
    dst.set(this.#ring.subarray(at, at + first));
    dst.set(this.#ring.subarray(0, count - first), first);
    return count;
  }
}
