/**
 * Which reply answers which request, and the checks that a reply must pass before anybody believes it.
 *
 * Layer: core/p9, pure; between the codec and the client's Rpc. The codec has checked a reply against itself; here it
 * is checked against what was asked.
 */

import { Err, errFromEname, errFromErrno } from "../err.ts";
import * as m from "./msg.ts";
import type { Rmsg, Tmsg } from "./msg.ts";

/** The reply of each request. */
export interface Replies {
  [m.Tversion]: m.Rversion;
  [m.Tauth]: m.Rauth;
  [m.Tattach]: m.Rattach;
  [m.Tflush]: m.Rflush;
  [m.Twalk]: m.Rwalk;
  [m.Topen]: m.Ropen;
  [m.Tcreate]: m.Rcreate;
  [m.Tread]: m.Rread;
  [m.Twrite]: m.Rwrite;
  [m.Twriteref]: m.Rwrite;
  [m.Tclunk]: m.Rclunk;
  [m.Tremove]: m.Rremove;
  [m.Tstat]: m.Rstat;
  [m.Twstat]: m.Rwstat;
  [m.Tstatfs]: m.Rstatfs;
  [m.Tlopen]: m.Rlopen;
  [m.Tlcreate]: m.Rlcreate;
  [m.Tsymlink]: m.Rsymlink;
  [m.Tmknod]: m.Rmknod;
  [m.Trename]: m.Rrename;
  [m.Treadlink]: m.Rreadlink;
  [m.Tgetattr]: m.Rgetattr;
  [m.Tsetattr]: m.Rsetattr;
  [m.Txattrwalk]: m.Rxattrwalk;
  [m.Txattrcreate]: m.Rxattrcreate;
  [m.Treaddir]: m.Rreaddir;
  [m.Tfsync]: m.Rfsync;
  [m.Tlock]: m.Rlock;
  [m.Tgetlock]: m.Rgetlock;
  [m.Tlink]: m.Rlink;
  [m.Tmkdir]: m.Rmkdir;
  [m.Trenameat]: m.Rrenameat;
  [m.Tunlinkat]: m.Runlinkat;
}

/** The reply that answers the request `T`, when it is no error. */
export type ReplyTo<T extends Tmsg> = Replies[T["type"]];

/** What a request lets its reply count at the most: bytes of a read or write, names of a walk. */
export function askedCount(msg: Tmsg): number {
  switch (msg.type) {
    case m.Tread:
    case m.Treaddir:
      return msg.count;
    case m.Twrite:
      return msg.data.length;
    case m.Twalk:
      return msg.names.length;
    case m.Tversion:
      return msg.msize;
    default:
      return 0;
  }
}

/** The error that a reply stands for: the server's own, or EPROTO for one that does not answer the request; else null. */
export function replyError(asked: number, count: number, reply: Rmsg): Err | null {
  const { type } = reply;
  if (type === m.Rerror) return reply.errno ? errFromErrno(reply.errno, reply.ename) : errFromEname(reply.ename);
  if (type === m.Rlerror) return errFromErrno(reply.errno);
  if (type !== asked + 1) return new Err("EPROTO", `server answered ${m.msgName(asked)} with ${m.msgName(type)}`);
  switch (type) {
    case m.Rread:
    case m.Rreaddir:
      return excess(asked, reply.data.length, count, "bytes");
    case m.Rwrite:
      return excess(asked, reply.count, count, "bytes");
    case m.Rversion:
      return excess(asked, reply.msize, count, "bytes of msize");
    case m.Rwalk:
      if (reply.qids.length === 0 && count > 0) {
        return new Err("EPROTO", "server answered Twalk with no qid and no error");
      }
      return excess(asked, reply.qids.length, count, "qids");
    default:
      return null;
  }
}

function excess(asked: number, got: number, most: number, what: string): Err | null {
  if (got <= most) return null;
  return new Err("EPROTO", `server answered ${m.msgName(asked)} with ${got} ${what}, asked were ${most}`);
}
