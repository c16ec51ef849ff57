/**
 * Reads and writes: data between a session's client and the Dev behind a fid, with as few copies as there can be.
 *
 * Layer: core/p9, beside ops.ts. A Dev that answers at once puts a read's bytes where they leave from: into the output, or
 * into memory that the client sees too. One that answers later hands them over (`Req.deliver`) or gives bytes of its own.
 */

import { type Chan, DELIVERED, type Req } from "../dev.ts";
import { Err } from "../err.ts";
import { copyBytes, isShared, WORD_BYTES } from "./bytes.ts";
import { DirReader } from "./dir_reader.ts";
import type { Fid } from "./fid.ts";
import { LEND_FROM } from "./lend.ts";
import * as m from "./msg.ts";
import type { Rmsg } from "./msg.ts";
import type { Session } from "./session.ts";
import type { Blocks } from "./transport.ts";
import { type MaybePromise, OEXEC, OREAD, OWRITE, QTDIR, type U64 } from "./types.ts";

/** Bytes of Rread's and Rreaddir's framing. */
export const READ_HEADER_BYTES = 11;

/** What an operation answers; null: the reply has been written. */
export type Result = MaybePromise<Rmsg | null>;

/** Goes on with `next` at once, or when the promise is there. */
export function then<T, U>(value: MaybePromise<T>, next: (value: T) => U): U | Promise<Awaited<U>> {
  return value instanceof Promise ? value.then(next) as Promise<Awaited<U>> : next(value);
}

/** A read of a file, a directory of the old dialects, or an extended attribute. */
export function read(session: Session, msg: m.Tread, fid: Fid, req: Req): Result {
  const { tag, offset } = msg;
  const count = Math.min(msg.count, session.msize - READ_HEADER_BYTES);
  if (fid.xattr) return { type: m.Rread, tag, data: fid.xattr.read(offset, count) };
  const chan = fid.file;
  if (chan.mode === -1 || (chan.mode & 3) === OWRITE) throw new Err("EBADF", "bad use of fid");
  if (chan.qid.type & QTDIR) {
    fid.dirReader ??= new DirReader(chan, session.dialect!.unix);
    return then(fid.dirReader.read(offset, count, req), (data) => ({ type: m.Rread, tag, data }));
  }
  if (typeof offset !== "number") return { type: m.Rread, tag, data: new Uint8Array(0) };
  const { blocks } = session;
  if (blocks && count >= LEND_FROM) return readLent(session, blocks, { tag, chan, offset, count, req });
  return readInPlace(session, { tag, chan, offset, count, req });
}

/** A read of a file, checked. */
interface Reading {
  readonly tag: number;
  readonly chan: Chan;
  readonly offset: number;
  readonly count: number;
  readonly req: Req;
}

/** The Dev puts the bytes where the reply goes. */
function readInPlace(session: Session, { tag, chan, offset, count, req }: Reading): Result {
  const w = session.output.writer(READ_HEADER_BYTES + count);
  const start = w.at;
  const body = start + READ_HEADER_BYTES;
  req.deliver = (data) => session.deliver(tag, req, data, count);
  const read = chan.dev.read(chan, w.bytes.subarray(body, body + count), offset, req);
  if (typeof read !== "number") return then(read, (data) => readReply(tag, data, count));
  req.deliver = null;
  w.u32(READ_HEADER_BYTES + read);
  w.u8(m.Rread);
  w.u16(tag);
  w.u32(read);
  w.at = body + read;
  return null;
}

/** The Dev puts the bytes where the client sees them too; one that takes no shared memory where they are copied from. */
function readLent(session: Session, blocks: Blocks, { tag, chan, offset, count, req }: Reading): Result {
  const block = chan.dev.shared ? blocks.lend(WORD_BYTES + count) : undefined, skew = offset % WORD_BYTES;
  const dst = block ? block.view.subarray(skew, skew + count) : session.scratch(count, offset);
  let sent = false;
  req.deliver = (data) => session.deliver(tag, req, data, count);
  try {
    const read = chan.dev.read(chan, dst, offset, req);
    if (typeof read !== "number") return then(read, (data) => readReply(tag, data, count));
    req.deliver = null;
    if (block && read >= LEND_FROM) {
      sent = true;
      session.reply({ type: m.Rreadref, tag, ref: { at: block.at + skew, length: read, ticket: block.ticket } });
    } else session.reply({ type: m.Rread, tag, data: dst.subarray(0, read) });
    return null;
  } finally {
    if (block && !sent) blocks.takeBack(block);
  }
}

function readReply(tag: number, data: Uint8Array, count: number): Rmsg | null {
  if (data === DELIVERED) return null;
  if (data.length > count) throw new Err("EIO", `a read of ${count} bytes was answered with ${data.length}`);
  return { type: m.Rread, tag, data };
}

/** A write to a file or an extended attribute. */
export function write(session: Session, msg: m.Twrite, fid: Fid, req: Req): Result {
  const { tag } = msg;
  if (fid.xattr) return { type: m.Rwrite, tag, count: fid.xattr.write(msg.offset, msg.data) };
  const chan = fid.file;
  if (chan.mode === -1 || (chan.mode & 3) === OREAD || (chan.mode & 3) === OEXEC) {
    throw new Err("EBADF", "bad use of fid");
  }
  if (chan.qid.type & QTDIR) throw new Err("EISDIR");
  const data = given(session, chan, msg.data, msg.offset);
  if (fid.append) {
    return then(session.srv.appends.write(chan, data, req), (count) => ({ type: m.Rwrite, tag, count }));
  }
  if (typeof msg.offset !== "number") throw new Err("EFBIG");
  const wrote = chan.dev.write(chan, data, msg.offset, req);
  return then(wrote, (count) => ({ type: m.Rwrite, tag, count }));
}

/** What a Dev is given of a write's data: a copy of what others see too, if it takes no shared memory. */
function given(session: Session, chan: Chan, data: Uint8Array, offset: U64): Uint8Array {
  if (!session.blocks || chan.dev.shared || !isShared(data)) return data;
  const own = session.scratch(data.length, Number(offset));
  copyBytes(data, own);
  return own;
}
