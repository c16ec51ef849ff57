/**
 * What the tests of the 9P conformance suite share: the server under test, how a test is registered, and steps that
 * each dialect says in its own way.
 */

import assert from "node:assert/strict";
import { Reader } from "../../core/p9/cursor.ts";
import * as m from "../../core/p9/msg.ts";
import type { Dialect } from "../../core/p9/msg.ts";
import type { Transport } from "../../core/p9/transport.ts";
import { DMDIR, OREAD, OTRUNC, QTDIR } from "../../core/p9/types.ts";
import type { RawPeer } from "./raw_peer.ts";

/** A server under test. */
export interface Subject {
  /** The tree to attach to; the server's own when not given. */
  aname?: string;
  /** A new connection to the same server. */
  connect(): Promise<Transport> | Transport;
  /** Ends the server. */
  close(): Promise<void> | void;
}

/** How a server under test is made: with an empty tree that its users may write. */
export type MakeSubject = () => Promise<Subject> | Subject;

export const DIALECTS: Dialect[] = ["9P2000", "9P2000.u", "9P2000.L", "9P2000.L.r9"];
export const CLASSIC: Dialect[] = ["9P2000", "9P2000.u"];
export const LINUX: Dialect[] = ["9P2000.L", "9P2000.L.r9"];

type Body = (peer: RawPeer, subject: Subject) => Promise<void>;
/** Registers a test for each dialect, with a connection that is attached at fid 0. */
export type Each = (dialects: Dialect[], what: string, body: Body) => void;
/** Registers a test with a connection on which nothing was said. */
export type Fresh = (what: string, body: Body) => void;

/** A fresh clone of the root at `fid`, whatever that was before. */
export async function cloned(peer: RawPeer, fid: number): Promise<number> {
  if ((await peer.rpc({ type: m.Twalk, fid: 0, newfid: fid, names: [] })).type !== m.Rwalk) {
    await peer.clunk(fid);
    await peer.walk(0, fid);
  }
  return fid;
}

/** `fid` walked anew from the root. */
export async function walked(peer: RawPeer, fid: number, ...names: string[]): Promise<number> {
  await peer.rpc({ type: m.Tclunk, fid });
  await peer.walk(0, fid, ...names);
  return fid;
}

/** Makes a directory in the root. */
export async function mkdir(peer: RawPeer, name: string): Promise<void> {
  if (peer.dialect.linux) return void await peer.ok({ type: m.Tmkdir, fid: 0, name, mode: 0o755, gid: 0 });
  await peer.walk(0, 999);
  await peer.create(999, name, (DMDIR | 0o755) >>> 0, OREAD);
  await peer.clunk(999);
}

/** The request that opens. */
export function openMsg(peer: RawPeer, fid: number, mode: number) {
  if (!peer.dialect.linux) return { type: m.Topen, fid, mode } as const;
  return { type: m.Tlopen, fid, flags: (mode & 3) | (mode & OTRUNC ? m.L_TRUNC : 0) } as const;
}

/** What a stat says of the mode. */
export async function modeOf(peer: RawPeer, fid: number): Promise<number> {
  if (peer.dialect.linux) return (await peer.ok({ type: m.Tgetattr, fid, mask: 0x7ff }) as m.Rgetattr).dir.mode;
  return (await peer.ok({ type: m.Tstat, fid }) as m.Rstat).dir.mode;
}

/** What a fid is called where it stands. */
export async function nameOf(peer: RawPeer, fid: number): Promise<string> {
  if (!peer.dialect.linux) return (await peer.ok({ type: m.Tstat, fid }) as m.Rstat).dir.name;
  // 9P2000.L tells no names: look for the qid among the parent's entries.
  await peer.walk(fid, 998);
  const { dir } = await peer.ok({ type: m.Tgetattr, fid: 998, mask: 0x7ff }) as m.Rgetattr;
  assert.ok(dir.qid.type & QTDIR);
  await peer.walk(998, 997, "..");
  const entry = (await readdirOf(peer, 997)).find((e) => e.path === dir.qid.path);
  await peer.clunk(998);
  await peer.clunk(997);
  return entry?.name ?? "/";
}

/** What a readdir says of a file. */
export interface Entry {
  name: string;
  path: number | bigint;
  next: number | bigint;
}

/** Opens a directory and lists it. */
async function readdirOf(peer: RawPeer, fid: number): Promise<Entry[]> {
  await peer.open(fid);
  return readdirL(peer, fid, 0, 8000);
}

/** One Treaddir. */
export async function readdirL(peer: RawPeer, fid: number, offset: number | bigint, count: number): Promise<Entry[]> {
  const { data } = await peer.ok({ type: m.Treaddir, fid, offset, count }) as m.Rreaddir;
  const r = new Reader(data).reset(0, data.length);
  const entries: Entry[] = [];
  while (r.at < r.end) {
    const { path } = r.qid();
    const next = r.u64();
    r.u8();
    entries.push({ path, next, name: r.str() });
  }
  return entries;
}

/** The names in a directory. */
export async function listL(peer: RawPeer, fid: number): Promise<string[]> {
  await peer.walk(fid, 996);
  const entries = await readdirOf(peer, 996);
  await peer.clunk(996);
  return entries.map((e) => e.name);
}
