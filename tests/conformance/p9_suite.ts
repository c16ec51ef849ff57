/**
 * The conformance suite of 9P: what version(5) to clunk(5) and diod's protocol.md ask of a server, a test each.
 *
 * It runs over any server of an empty, writable tree, at any distance: in this isolate, behind a ring, over a socket.
 */

import assert from "node:assert/strict";
import * as m from "../../core/p9/msg.ts";
import type { Dialect } from "../../core/p9/msg.ts";
import type { Transport } from "../../core/p9/transport.ts";
import {
  DMAPPEND,
  DMDIR,
  DMEXCL,
  MAX_MSIZE,
  NOFID,
  NONUNAME,
  NOTAG,
  ORCLOSE,
  ORDWR,
  OREAD,
  OTRUNC,
  OWRITE,
  QTDIR,
} from "../../core/p9/types.ts";
import { getStat, wstatDir } from "../../core/p9/stat.ts";
import { Reader } from "../../core/p9/cursor.ts";
import { frame, RawPeer, type Untagged } from "./raw_peer.ts";

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

const DIALECTS: Dialect[] = ["9P2000", "9P2000.u", "9P2000.L", "9P2000.L.r9"];
const CLASSIC: Dialect[] = ["9P2000", "9P2000.u"];
const LINUX: Dialect[] = ["9P2000.L", "9P2000.L.r9"];

/** Registers the suite's tests for one server. */
export function p9Conformance(name: string, make: MakeSubject): void {
  const each = (dialects: Dialect[], what: string, body: (peer: RawPeer, subject: Subject) => Promise<void>) => {
    for (const dialect of dialects) {
      Deno.test(`${name}: ${dialect}: ${what}`, async () => {
        const subject = await make();
        const peer = await RawPeer.open(await subject.connect(), dialect, subject);
        try {
          await body(peer, subject);
        } finally {
          peer.close();
          await subject.close();
        }
      });
    }
  };
  const fresh = (what: string, body: (peer: RawPeer, subject: Subject) => Promise<void>) => {
    Deno.test(`${name}: ${what}`, async () => {
      const subject = await make();
      const peer = new RawPeer(await subject.connect());
      try {
        await body(peer, subject);
      } finally {
        peer.close();
        await subject.close();
      }
    });
  };
  sessionTests(fresh, each);
  walkTests(each);
  openTests(each);
  readWriteTests(each);
  directoryTests(each);
  changeTests(each);
  linuxTests(each);
  frameTests(fresh, each);
}

type Each = (dialects: Dialect[], what: string, body: (peer: RawPeer, subject: Subject) => Promise<void>) => void;
type Fresh = (what: string, body: (peer: RawPeer, subject: Subject) => Promise<void>) => void;

function sessionTests(fresh: Fresh, each: Each): void {
  fresh("Tversion answers the smaller msize, and an unknown string with unknown", async (peer) => {
    assert.equal((await peer.version("9P2000", 8192)).msize, 8192);
    assert.equal((await peer.version("9P2000", 1 << 30)).msize, MAX_MSIZE);
    assert.equal((await peer.version("10P")).version, "unknown");
    assert.equal((await peer.version("9P2000.xyz")).version, "9P2000");
    assert.equal((await peer.version("9P2000", 100)).version, "unknown", "msize is tiny");
    assert.equal((await peer.version("9P2000.L", 0)).version, "unknown");
    assert.equal((await peer.version("9P2000.L", 0xffffffff)).msize, MAX_MSIZE);
  });
  fresh("anything before Tversion is an error", async (peer) => {
    await peer.refused({ type: m.Tattach, fid: 0, afid: NOFID, uname: "x", aname: "", nuname: NONUNAME });
    await peer.refused({ type: m.Tclunk, fid: 0 });
  });
  each(DIALECTS, "a second Tversion drops all fids", async (peer, subject) => {
    await peer.walk(0, 1);
    await peer.version(peer.dialect.name);
    await peer.refused({ type: m.Tclunk, fid: 1 });
    await peer.attach(1, subject);
  });
  each(DIALECTS, "Tattach refuses a fid in use, NOFID, and an afid", async (peer) => {
    const attach = { type: m.Tattach, afid: NOFID, uname: "u", aname: "", nuname: 5 } as const;
    await peer.refused({ ...attach, fid: 0 });
    await peer.refused({ ...attach, fid: NOFID });
    await peer.refused({ ...attach, fid: 3, afid: 0 });
    await peer.ok({ ...attach, fid: 3 });
  });
  each(DIALECTS, "Tauth is refused where no authentication is needed", async (peer) => {
    await peer.refused({ type: m.Tauth, afid: 9, uname: "u", aname: "", nuname: 5 });
    await peer.walk(0, 9);
  });
  each(DIALECTS, "Tflush of itself, of nothing, of a flush, of a finished request: answered", async (peer) => {
    await peer.ok({ type: m.Tflush, tag: 77, oldtag: 77 });
    await peer.ok({ type: m.Tflush, oldtag: 1234 });
    await peer.walk(0, 1);
    await peer.ok({ type: m.Tflush, oldtag: 2 });
    await peer.send({ type: m.Tflush, tag: 50, oldtag: 51 }, { type: m.Tflush, tag: 51, oldtag: 50 });
    const tags = [(await peer.receive())?.tag, (await peer.receive())?.tag];
    assert.deepEqual(tags.sort(), [50, 51]);
  });
  each(DIALECTS, "a hundred requests in one write are answered, each once", async (peer) => {
    const walks: Untagged[] = [];
    for (let i = 0; i < 100; i++) walks.push({ type: m.Twalk, fid: 0, newfid: 100 + i, names: [] });
    const tags = new Set(await peer.send(...walks));
    for (let i = 0; i < 100; i++) {
      const reply = await peer.receive();
      assert.equal(reply?.type, m.Rwalk);
      assert.ok(tags.delete(reply.tag));
    }
  });
  each(DIALECTS, "walk, open, write and clunk sent in one go work in their order", async (peer) => {
    await peer.create(await cloned(peer, 1), "f");
    await peer.clunk(1);
    const open = peer.dialect.linux
      ? { type: m.Tlopen, fid: 2, flags: 1 } as const
      : { type: m.Topen, fid: 2, mode: 1 } as const;
    const data = new TextEncoder().encode("hello");
    await peer.send(
      { type: m.Twalk, fid: 0, newfid: 2, names: ["f"] },
      open,
      { type: m.Twrite, fid: 2, offset: 0, data },
      { type: m.Tclunk, fid: 2 },
    );
    const replies = [];
    for (let i = 0; i < 4; i++) replies.push(await peer.receive());
    const types = replies.sort((a, b) => a!.tag - b!.tag).map((reply) => reply!.type);
    assert.deepEqual(types, [m.Rwalk, open.type + 1, m.Rwrite, m.Rclunk]);
    await peer.walk(0, 3, "f");
    await peer.open(3);
    assert.equal(await peer.read(3), "hello");
  });
}

function walkTests(each: Each): void {
  each(DIALECTS, "a walk of no names clones, and the clone lives and dies apart", async (peer) => {
    await peer.walk(0, 1);
    await peer.clunk(1);
    await peer.refused({ type: m.Tclunk, fid: 1 });
    await peer.walk(0, 1);
  });
  each(DIALECTS, "a walk stops at the first missing name and newfid stays free", async (peer) => {
    await mkdir(peer, "a");
    await peer.refused({ type: m.Twalk, fid: 0, newfid: 1, names: ["nope"] });
    const part = await peer.walk(0, 1, "a", "nope", "b") as m.Rwalk;
    assert.equal(part.qids.length, 1);
    await peer.refused({ type: m.Tclunk, fid: 1 });
    await peer.walk(0, 1, "a");
    await peer.refused({ type: m.Twalk, fid: 1, newfid: 1, names: ["x"] });
    assert.equal(
      (await peer.walk(1, 1, "..", "nope") as m.Rwalk).qids.length,
      1,
      "newfid = fid moves only if all succeed",
    );
    assert.equal(await nameOf(peer, 1), "a");
  });
  each(DIALECTS, "a walk refuses newfid in use, NOFID, unknown fids and 17 names", async (peer) => {
    await peer.walk(0, 1);
    await peer.refused({ type: m.Twalk, fid: 0, newfid: 1, names: [] });
    await peer.refused({ type: m.Twalk, fid: 0, newfid: NOFID, names: [] });
    await peer.refused({ type: m.Twalk, fid: NOFID, newfid: 2, names: [] });
    await peer.refused({ type: m.Twalk, fid: 0, newfid: 2, names: Array(17).fill("..") });
    assert.equal((await peer.walk(0, 2, ...Array(16).fill("..")) as m.Rwalk).qids.length, 16);
  });
  each(DIALECTS, ".. at the root is the root, and climbs elsewhere", async (peer) => {
    await mkdir(peer, "d");
    const root = await peer.walk(0, 1, "..", "..") as m.Rwalk;
    const back = await peer.walk(0, 2, "d", "..") as m.Rwalk;
    assert.equal(root.qids[1].path, back.qids[1].path);
    assert.notEqual(back.qids[0].path, back.qids[1].path);
    await peer.walk(2, 3, "d", "..", "d");
  });
  each(DIALECTS, "names with a slash, a NUL, a dot or nothing lead nowhere", async (peer) => {
    for (const name of ["", ".", "a/b", "/", "../..", "a\0b"]) {
      await peer.refused({ type: m.Twalk, fid: 0, newfid: 1, names: [name] });
    }
    await peer.refused({ type: m.Twalk, fid: 0, newfid: 1, names: ["x".repeat(256)] });
  });
  each(DIALECTS, "a file is no directory to walk in", async (peer) => {
    await peer.create(await cloned(peer, 1), "f");
    await peer.clunk(1);
    assert.equal((await peer.walk(0, 2, "f", "g") as m.Rwalk).qids.length, 1);
    await peer.walk(0, 3, "f");
    await peer.refused({ type: m.Twalk, fid: 3, newfid: 4, names: ["g"] });
  });
  each(CLASSIC, "an open fid can not be walked", async (peer) => {
    await peer.walk(0, 1);
    await peer.open(1);
    await peer.refused({ type: m.Twalk, fid: 1, newfid: 2, names: [] });
  });
  each(LINUX, "an open fid can be walked, as Linux does", async (peer) => {
    await mkdir(peer, "d");
    await peer.walk(0, 1);
    await peer.open(1);
    await peer.walk(1, 2, "d");
  });
  each(DIALECTS, "fids have a limit, and a refused one leaves the others alone", async (peer) => {
    let refused = 0;
    for (let fid = 1; fid < 5000 && refused === 0; fid++) {
      if ((await peer.rpc({ type: m.Twalk, fid: 0, newfid: fid, names: [] })).type !== m.Rwalk) refused = fid;
    }
    assert.ok(refused > 1000, "no limit was met");
    await peer.clunk(1);
    await peer.walk(0, refused);
  });
}

function openTests(each: Each): void {
  each(DIALECTS, "reading a fid that is not open, writing a read-only one, a second open: errors", async (peer) => {
    await peer.create(await cloned(peer, 1), "f");
    await peer.clunk(1);
    await peer.walk(0, 1, "f");
    await peer.refused({ type: m.Tread, fid: 1, offset: 0, count: 10 });
    await peer.refused({ type: m.Twrite, fid: 1, offset: 0, data: new Uint8Array(1) });
    await peer.open(1, OREAD);
    await peer.refused({ type: m.Twrite, fid: 1, offset: 0, data: new Uint8Array(1) });
    await peer.refused(openMsg(peer, 1, OREAD));
    await peer.walk(0, 2, "f");
    await peer.open(2, OWRITE);
    await peer.refused({ type: m.Tread, fid: 2, offset: 0, count: 1 });
  });
  each(DIALECTS, "OTRUNC empties; create of what is there is refused", async (peer) => {
    await peer.create(await cloned(peer, 1), "f");
    await peer.write(1, "some text");
    await peer.walk(0, 2, "f");
    await peer.open(2, OWRITE | OTRUNC);
    assert.equal(await peer.read(1), "");
    await peer.walk(0, 3);
    if (peer.dialect.linux) {
      await peer.refused({
        type: m.Tlcreate,
        fid: 3,
        name: "f",
        flags: m.L_CREAT | m.L_EXCL,
        mode: 0o644,
        gid: 0,
        perm: 0o644,
      });
    } else await peer.refused({ type: m.Tcreate, fid: 3, name: "f", perm: 0o644, mode: 1, ext: "" });
  });
  each(DIALECTS, "names that can not be made are refused", async (peer) => {
    for (const name of ["", ".", "..", "a/b", "../x", "/", "a\0b", "x".repeat(256)]) {
      await peer.walk(0, 1);
      await peer.refused(
        peer.dialect.linux
          ? { type: m.Tlcreate, fid: 1, name, flags: 2, mode: 0o644, gid: 0, perm: 0o644 }
          : { type: m.Tcreate, fid: 1, name, perm: 0o644, mode: 2, ext: "" },
      );
      await peer.clunk(1);
    }
    await peer.create(await cloned(peer, 1), "x".repeat(255));
    await peer.create(await cloned(peer, 2), "naïve – 名前");
  });
  each(CLASSIC, "a name that is not UTF-8 is refused", async (peer) => {
    await peer.walk(0, 1);
    await peer.refused({ type: m.Tcreate, fid: 1, name: "bad\udcff", perm: 0o644, mode: 2, ext: "" });
  });
  each(LINUX, "a name that is not UTF-8 is carried as it came", async (peer) => {
    await peer.create(await cloned(peer, 1), "bad\udcff\udc80é");
    await peer.walk(0, 2, "bad\udcff\udc80é");
    assert.deepEqual(await listL(peer, 0), ["bad\udcff\udc80é"]);
  });
  each(CLASSIC, "permissions of a new file are cut by the directory's", async (peer) => {
    await peer.create(await cloned(peer, 1), "d", (DMDIR | 0o750) >>> 0, OREAD);
    await peer.clunk(1);
    await peer.walk(0, 1, "d");
    await peer.create(1, "f", 0o777, ORDWR);
    assert.equal(await modeOf(peer, 1) & 0o777, 0o777 & (~0o666 | 0o640));
  });
  each(CLASSIC, "ORCLOSE removes the file when its fid is clunked", async (peer) => {
    await peer.create(await cloned(peer, 1), "f", 0o600, ORDWR | ORCLOSE);
    await peer.walk(0, 2, "f");
    await peer.clunk(1);
    await peer.refused({ type: m.Twalk, fid: 0, newfid: 3, names: ["f"] });
  });
  each(CLASSIC, "append-only files ignore offsets, exclusive ones have one opener", async (peer) => {
    await peer.create(await cloned(peer, 1), "log", (DMAPPEND | 0o666) >>> 0, ORDWR);
    await peer.write(1, "one\n", 0);
    await peer.write(1, "two\n", 0);
    assert.equal(await peer.read(1), "one\ntwo\n");
    await peer.create(await cloned(peer, 2), "lock", (DMEXCL | 0o666) >>> 0, ORDWR);
    await peer.walk(0, 3, "lock");
    await peer.refused(openMsg(peer, 3, OREAD));
    await peer.clunk(2);
    await peer.open(3, OREAD);
  });
  each(DIALECTS, "a directory opens for reading only", async (peer) => {
    await peer.walk(0, 1);
    for (const mode of [OWRITE, ORDWR, OREAD | OTRUNC]) await peer.refused(openMsg(peer, 1, mode));
    await peer.open(1, OREAD);
  });
  each(DIALECTS, "permissions are checked once, at open, for the user who attached", async (peer, subject) => {
    await peer.create(await cloned(peer, 1), "mine", 0o600);
    await peer.write(1, "secret");
    const other = await RawPeer.open(await subject.connect(), peer.dialect.name, {
      ...subject,
      uid: 1234,
      uname: "mallory",
    });
    await other.walk(0, 1, "mine");
    await other.refused(openMsg(other, 1, OREAD));
    other.close();
  });
}

function readWriteTests(each: Each): void {
  each(DIALECTS, "reads are cut to msize, and past the end are empty", async (peer) => {
    await peer.create(await cloned(peer, 1), "f");
    await peer.write(1, "0123456789");
    assert.equal(await peer.read(1, 4), "456789");
    assert.equal(await peer.read(1, 10), "");
    assert.equal(await peer.read(1, 2 ** 40), "");
    const huge = await peer.rpc({ type: m.Tread, fid: 1, offset: 0xffff_ffff_ffff_ffffn, count: 4 });
    assert.ok(huge.type !== m.Rread || huge.data.length === 0);
    const wide = await peer.ok({ type: m.Tread, fid: 1, offset: 0, count: 0xffffffff }) as m.Rread;
    assert.equal(wide.data.length, 10);
    await peer.refused({ type: m.Twrite, fid: 1, offset: 0xffff_ffff_ffff_fff0n, data: new Uint8Array(64) });
    assert.equal(await peer.read(1), "0123456789");
  });
  each(DIALECTS, "a write past the end leaves a hole of zeros", async (peer) => {
    await peer.create(await cloned(peer, 1), "f");
    await peer.write(1, "end", 5000);
    const { data } = await peer.ok({ type: m.Tread, fid: 1, offset: 0, count: 8000 }) as m.Rread;
    assert.equal(data.length, 5003);
    assert.ok(data.subarray(0, 5000).every((b) => b === 0));
  });
  each(DIALECTS, "an open file that was removed goes on working", async (peer) => {
    await peer.create(await cloned(peer, 1), "f");
    await peer.write(1, "still here");
    await peer.walk(0, 2, "f");
    await peer.ok({ type: m.Tremove, fid: 2 });
    assert.equal(await peer.read(1), "still here");
    await peer.write(1, "ST", 0);
    assert.equal(await peer.read(1), "STill here");
    await modeOf(peer, 1);
    await peer.clunk(1);
  });
  each(DIALECTS, "Tremove clunks even when it fails", async (peer) => {
    await mkdir(peer, "d");
    await peer.create(await walked(peer, 1, "d"), "inside");
    await peer.walk(0, 2, "d");
    await peer.refused({ type: m.Tremove, fid: 2 });
    await peer.refused({ type: m.Tclunk, fid: 2 });
  });
  each(DIALECTS, "qid.version changes with the content, qid.path does not", async (peer) => {
    const made = await peer.create(await cloned(peer, 1), "f") as m.Ropen;
    await peer.write(1, "x");
    const { qids: [after] } = await peer.walk(0, 2, "f") as m.Rwalk;
    assert.equal(after.path, made.qid.path);
    assert.notEqual(after.vers, made.qid.vers);
  });
}

function directoryTests(each: Each): void {
  each(CLASSIC, "a directory reads in whole entries, from 0 or where the last read ended", async (peer) => {
    for (let i = 0; i < 30; i++) {
      await peer.create(await cloned(peer, 1), `file${i}`);
      await peer.clunk(1);
    }
    await peer.walk(0, 2);
    await peer.open(2);
    const names: string[] = [];
    let offset = 0;
    for (;;) {
      const { data } = await peer.ok({ type: m.Tread, fid: 2, offset, count: 300 }) as m.Rread;
      if (data.length === 0) break;
      const r = new Reader(data).reset(0, data.length);
      while (r.at < r.end) names.push(getStat(r, peer.dialect.unix).name);
      offset += data.length;
    }
    assert.deepEqual(names.sort(), Array.from({ length: 30 }, (_, i) => `file${i}`).sort());
    await peer.refused({ type: m.Tread, fid: 2, offset: 1, count: 300 });
    await peer.refused({ type: m.Tread, fid: 2, offset: offset + 1, count: 300 });
    await peer.refused({ type: m.Tread, fid: 2, offset: 0, count: 10 });
    assert.ok((await peer.ok({ type: m.Tread, fid: 2, offset: 0, count: 300 }) as m.Rread).data.length > 0);
  });
  each(LINUX, "a listing survives creation and removal while it runs", async (peer) => {
    const all = Array.from({ length: 200 }, (_, i) => `f${i}`);
    for (const name of all) {
      await peer.create(await cloned(peer, 1), name);
      await peer.clunk(1);
    }
    await peer.walk(0, 2);
    await peer.open(2);
    const seen: string[] = [];
    let offset: number | bigint = 0;
    for (let turn = 0;; turn++) {
      const entries = await readdirL(peer, 2, offset, 400);
      if (entries.length === 0) break;
      seen.push(...entries.map((e) => e.name));
      offset = entries.at(-1)!.next;
      if (turn < 5) {
        await peer.ok({ type: m.Tunlinkat, fid: 0, name: seen[0 + turn], flags: 0 });
        await peer.create(await cloned(peer, 9), `new${turn}`);
        await peer.clunk(9);
      }
    }
    const old = seen.filter((name) => name.startsWith("f"));
    assert.equal(new Set(seen).size, seen.length, "a name came twice");
    assert.deepEqual(new Set(old), new Set(all), "a name that stayed was lost");
  });
  each(LINUX, "a listing goes on from any cookie it gave", async (peer) => {
    for (let i = 0; i < 20; i++) {
      await peer.create(await cloned(peer, 1), `f${i}`);
      await peer.clunk(1);
    }
    await peer.walk(0, 2);
    await peer.open(2);
    const all = await readdirL(peer, 2, 0, 8000);
    for (let i = 0; i < all.length; i++) {
      const rest = await readdirL(peer, 2, all[i].next, 8000);
      assert.deepEqual(rest.map((e) => e.name), all.slice(i + 1).map((e) => e.name));
    }
  });
}

function changeTests(each: Each): void {
  each(CLASSIC, "stat of the root has the name /", async (peer) => {
    assert.equal(await nameOf(peer, 0), "/");
  });
  each(CLASSIC, "wstat is all or nothing", async (peer) => {
    await peer.create(await cloned(peer, 1), "f", 0o644);
    await peer.create(await cloned(peer, 2), "taken");
    await peer.refused({ type: m.Twstat, fid: 1, dir: wstatDir({ name: "taken", mode: 0o600 }, 0) });
    assert.equal(await modeOf(peer, 1), 0o644);
    assert.equal(await nameOf(peer, 1), "f");
    await peer.ok({ type: m.Twstat, fid: 1, dir: wstatDir({ name: "g", mode: 0o600, length: 3 }, 0) });
    assert.equal(await nameOf(peer, 1), "g");
    assert.equal(await modeOf(peer, 1), 0o600);
    assert.equal((await peer.read(1)).length, 3);
    await peer.ok({ type: m.Twstat, fid: 1, dir: wstatDir({}, 0) });
    await peer.refused({ type: m.Twstat, fid: 1, dir: wstatDir({ mode: (DMDIR | 0o700) >>> 0 }, 0) });
    await peer.refused({ type: m.Twstat, fid: 1, dir: wstatDir({ name: "a/b" }, 0) });
  });
  each(CLASSIC, "a wstat whose sizes disagree is refused", async (peer) => {
    await peer.raw(frame(m.Twstat, 3, [0, 0, 0, 0, 10, 0, 1, 0, 0]));
    assert.equal((await peer.receive())?.type, m.Rerror);
    await peer.raw(frame(m.Twstat, 4, [0, 0, 0, 0, 3, 0, 200, 0, 0]));
    assert.equal((await peer.receive())?.type, m.Rerror);
    await peer.walk(0, 1);
  });
  each(LINUX, "setattr sets modes, lengths and times, given or now", async (peer) => {
    await peer.create(await cloned(peer, 1), "f");
    await peer.write(1, "0123456789");
    const none = { mode: 0, uid: 0, gid: 0, size: 0, atime: 0, atimeNsec: 0, mtime: 0, mtimeNsec: 0 };
    const valid = m.SETATTR_MODE | m.SETATTR_SIZE | m.SETATTR_MTIME | m.SETATTR_MTIME_SET;
    await peer.ok({ type: m.Tsetattr, fid: 1, ...none, valid, mode: 0o4711, size: 4, mtime: 1234567, mtimeNsec: 89 });
    const { dir } = await peer.ok({ type: m.Tgetattr, fid: 1, mask: 0x7ff }) as m.Rgetattr;
    assert.deepEqual([dir.length, dir.mtime, dir.mtimeNsec, dir.mode & 0o777], [4, 1234567, 89, 0o711]);
    await peer.ok({ type: m.Tsetattr, fid: 1, ...none, valid: m.SETATTR_MTIME });
    const now = (await peer.ok({ type: m.Tgetattr, fid: 1, mask: 0x7ff }) as m.Rgetattr).dir;
    assert.ok(now.mtime > 1_600_000_000);
  });
}

function linuxTests(each: Each): void {
  each(LINUX, "renameat and unlinkat, over what is there and over open files", async (peer) => {
    await mkdir(peer, "d");
    await peer.create(await cloned(peer, 1), "a");
    await peer.write(1, "A");
    await peer.create(await walked(peer, 2, "d"), "b");
    await peer.write(2, "B");
    await peer.walk(0, 3, "d");
    await peer.ok({ type: m.Trenameat, fid: 0, oldname: "a", newdirfid: 3, newname: "b" });
    assert.equal(await peer.read(2), "B", "the file that was replaced lives until it is clunked");
    await peer.walk(0, 4, "d", "b");
    await peer.open(4);
    assert.equal(await peer.read(4), "A");
    assert.equal(await peer.read(1), "A");
    await peer.refused({ type: m.Tunlinkat, fid: 0, name: "d", flags: 0 });
    await peer.refused({ type: m.Tunlinkat, fid: 0, name: "d", flags: m.AT_REMOVEDIR });
    await peer.refused({ type: m.Tunlinkat, fid: 3, name: "b", flags: m.AT_REMOVEDIR });
    await peer.ok({ type: m.Tunlinkat, fid: 3, name: "b", flags: 0 });
    await peer.ok({ type: m.Tunlinkat, fid: 0, name: "d", flags: m.AT_REMOVEDIR });
    for (const name of ["..", ".", "", "a/b"]) await peer.refused({ type: m.Tunlinkat, fid: 0, name, flags: 0 });
    for (const name of ["..", ".", "", "a/b"]) {
      await peer.refused({ type: m.Trenameat, fid: 0, oldname: "x", newdirfid: 0, newname: name });
    }
  });
  each(LINUX, "a directory can not move into itself", async (peer) => {
    await mkdir(peer, "d");
    await peer.walk(0, 1, "d");
    await peer.ok({ type: m.Tmkdir, fid: 1, name: "e", mode: 0o755, gid: 0 });
    await peer.walk(1, 2, "e");
    await peer.refused({ type: m.Trename, fid: 1, dirfid: 2, name: "x" });
    await peer.walk(0, 3, "d", "e");
  });
  each(LINUX, "symlinks, hard links and device files", async (peer) => {
    await peer.create(await cloned(peer, 1), "f");
    await peer.write(1, "linked");
    await peer.ok({ type: m.Tsymlink, fid: 0, name: "s", target: "/any/where", gid: 0 });
    await peer.walk(0, 2, "s");
    assert.equal((await peer.ok({ type: m.Treadlink, fid: 2 }) as m.Rreadlink).target, "/any/where");
    await peer.refused({ type: m.Treadlink, fid: 1 });
    await peer.ok({ type: m.Tlink, dirfid: 0, fid: 1, name: "g" });
    await peer.walk(0, 3, "g");
    const { dir } = await peer.ok({ type: m.Tgetattr, fid: 3, mask: 0x7ff }) as m.Rgetattr;
    assert.equal(dir.nlink, 2);
    await peer.ok({ type: m.Tmknod, fid: 0, name: "null", mode: 0o20666, major: 1, minor: 3, gid: 0 });
    await peer.walk(0, 4, "null");
    const device = (await peer.ok({ type: m.Tgetattr, fid: 4, mask: 0x7ff }) as m.Rgetattr).dir;
    assert.equal(device.ext, "c 1 3");
  });
  each(["9P2000.u"], "symlinks, hard links and device files by Tcreate", async (peer) => {
    const special = (
      name: string,
      perm: number,
      ext: string,
    ) => ({ type: m.Tcreate, fid: 9, name, perm, mode: 0, ext } as const);
    await peer.create(await cloned(peer, 1), "f");
    await cloned(peer, 9);
    await peer.ok(special("s", 0x02000000 | 0o777, "target"));
    await peer.clunk(9);
    await cloned(peer, 9);
    await peer.ok(special("h", 0x01000000 | 0o644, "1"));
    await peer.clunk(9);
    await cloned(peer, 9);
    await peer.refused(special("dev", 0x00800000 | 0o644, "no device"));
    await peer.ok(special("dev", 0x00800000 | 0o644, "b 8 1"));
    const stat = await peer.ok({ type: m.Tstat, fid: 9 }) as m.Rstat;
    assert.equal(stat.dir.ext, "b 8 1");
    await peer.walk(0, 2, "s");
    assert.equal((await peer.ok({ type: m.Tstat, fid: 2 }) as m.Rstat).dir.ext, "target");
  });
  each(LINUX, "extended attributes: set, read, list, remove, refuse", async (peer) => {
    await peer.create(await cloned(peer, 1), "f");
    const value = new TextEncoder().encode("some value");
    await peer.walk(0, 2, "f");
    await peer.ok({ type: m.Txattrcreate, fid: 2, name: "user.a", size: value.length, flags: 0 });
    await peer.ok({ type: m.Twrite, fid: 2, offset: 0, data: value });
    await peer.clunk(2);
    await peer.walk(0, 2, "f");
    assert.equal((await peer.ok({ type: m.Txattrwalk, fid: 2, newfid: 3, name: "user.a" }) as m.Rxattrwalk).size, 10);
    assert.equal(await peer.read(3), "some value");
    await peer.ok({ type: m.Txattrwalk, fid: 2, newfid: 4, name: "" });
    assert.equal(await peer.read(4), "user.a\0");
    await peer.refused({ type: m.Txattrwalk, fid: 2, newfid: 5, name: "user.none" });
    await peer.refused({ type: m.Txattrcreate, fid: 2, name: "user.b", size: 1 << 30, flags: 0 });
    await peer.ok({ type: m.Txattrcreate, fid: 2, name: "user.b", size: 5, flags: 0 });
    await peer.refused({ type: m.Tclunk, fid: 2 });
    await peer.refused({ type: m.Tclunk, fid: 2 });
  });
  each(
    LINUX,
    "locks: shared, exclusive, by range, freed with the fid and with the connection",
    async (peer, subject) => {
      await peer.create(await cloned(peer, 1), "f");
      const other = await RawPeer.open(await subject.connect(), peer.dialect.name, subject);
      await other.walk(0, 1, "f");
      await other.open(1, ORDWR);
      const lock = (type: number, start: number, length: number, procId: number) => (
        { type: m.Tlock, fid: 1, lock: { type, flags: 0, start, length, procId, clientId: "host" } } as const
      );
      const status = async (p: RawPeer, msg: ReturnType<typeof lock>) => (await p.ok(msg) as m.Rlock).status;
      assert.equal(await status(peer, lock(1, 0, 10, 1)), 0);
      assert.equal(await status(other, lock(1, 5, 10, 2)), 1);
      assert.equal(await status(other, lock(1, 10, 10, 2)), 0);
      const held = await other.ok({ ...lock(1, 0, 0, 2), type: m.Tgetlock }) as m.Rgetlock;
      assert.deepEqual([held.lock.type, held.lock.start, held.lock.length, held.lock.procId], [1, 0, 10, 1]);
      assert.equal(await status(peer, lock(2, 0, 5, 1)), 0);
      assert.equal(await status(other, lock(0, 0, 5, 2)), 0);
      await peer.clunk(1);
      assert.equal(await status(other, lock(1, 0, 0, 2)), 0);
      other.close();
      await peer.walk(0, 1, "f");
      await peer.open(1, ORDWR);
      while (await status(peer, lock(1, 0, 0, 1)) !== 0);
    },
  );
  each(LINUX, "statfs tells a file system, fsync succeeds", async (peer) => {
    const { statfs } = await peer.ok({ type: m.Tstatfs, fid: 0 }) as m.Rstatfs;
    assert.ok(statfs.bsize > 0 && statfs.namelen === 255);
    await peer.create(await cloned(peer, 1), "f");
    await peer.ok({ type: m.Tfsync, fid: 1, dataOnly: 0 });
  });
  each(["9P2000.L"], "errors are Linux's numbers", async (peer) => {
    assert.equal(await peer.refused({ type: m.Twalk, fid: 0, newfid: 1, names: ["none"] }), 2);
    assert.equal(await peer.refused({ type: m.Tclunk, fid: 99 }), 9);
  });
  each(["9P2000.L.r9"], "errors keep their text beside the number", async (peer) => {
    assert.equal(await peer.refused({ type: m.Twalk, fid: 0, newfid: 1, names: ["none"] }), "file does not exist");
  });
}

function frameTests(fresh: Fresh, each: Each): void {
  for (const size of [0, 4, 6, 70_000_000, 0x4000_0000, 0xffff_ffff]) {
    each(["9P2000.L"], `a frame that says it is ${size} bytes long ends the connection`, async (peer, subject) => {
      await peer.raw(frame(m.Tclunk, 1, [0, 0, 0, 0], size));
      assert.equal(await peer.receive(), null);
      const next = await RawPeer.open(await subject.connect(), "9P2000.L", subject);
      next.close();
    });
  }
  fresh("random bytes end the connection, and no other", async (_peer, subject) => {
    for (let round = 0; round < 20; round++) {
      const bad = new RawPeer(await subject.connect());
      await Promise.resolve(bad.raw(crypto.getRandomValues(new Uint8Array(500)))).catch(() => {});
      bad.close();
    }
    const good = await RawPeer.open(await subject.connect(), "9P2000.L", subject);
    good.close();
  });
  each(DIALECTS, "messages with too few or too many bytes, replies, and unknown types are refused", async (peer) => {
    const bad = [
      frame(m.Tclunk, 9, []),
      frame(m.Tclunk, 9, [0, 0, 0, 0, 0]),
      frame(m.Twalk, 9, [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 255, 255, 65]),
      frame(m.Twalk, 9, [0, 0, 0, 0, 1, 0, 0, 0, 255, 255]),
      frame(m.Twrite, 9, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 1]),
      frame(m.Rwalk, 9, [0, 0]),
      frame(m.Rversion, 9, [0, 0, 1, 0, 0, 0]),
      frame(106, 9, []),
      frame(6, 9, []),
      frame(255, 9, [1, 2, 3]),
    ];
    for (const bytes of bad) {
      await peer.raw(bytes);
      const reply = await peer.receive();
      assert.ok(reply?.type === m.Rerror || reply?.type === m.Rlerror, `answered with ${reply?.type}`);
      assert.equal(reply.tag, 9);
    }
    await peer.walk(0, 1);
  });
  each(DIALECTS, "one byte at a time gets the same answers", async (peer) => {
    for (const byte of frame(m.Tflush, 3, [9, 0])) await peer.raw([byte]);
    assert.equal((await peer.receive())?.type, m.Rflush);
  });
  each(["9P2000.L"], "Tversion asks for NOTAG, and is answered unknown without", async (peer) => {
    const reply = await peer.rpc({ type: m.Tversion, tag: 5, msize: 8192, version: "9P2000" }) as m.Rversion;
    assert.equal(reply.version, "unknown");
    await peer.rpc({ type: m.Tversion, tag: NOTAG, msize: 8192, version: "9P2000" });
  });
}

// ---- helpers

async function cloned(peer: RawPeer, fid: number): Promise<number> {
  if ((await peer.rpc({ type: m.Twalk, fid: 0, newfid: fid, names: [] })).type !== m.Rwalk) {
    await peer.clunk(fid);
    await peer.walk(0, fid);
  }
  return fid;
}

async function walked(peer: RawPeer, fid: number, ...names: string[]): Promise<number> {
  await peer.rpc({ type: m.Tclunk, fid });
  await peer.walk(0, fid, ...names);
  return fid;
}

async function mkdir(peer: RawPeer, name: string): Promise<void> {
  if (peer.dialect.linux) return void await peer.ok({ type: m.Tmkdir, fid: 0, name, mode: 0o755, gid: 0 });
  await peer.walk(0, 999);
  await peer.create(999, name, (DMDIR | 0o755) >>> 0, OREAD);
  await peer.clunk(999);
}

function openMsg(peer: RawPeer, fid: number, mode: number) {
  if (!peer.dialect.linux) return { type: m.Topen, fid, mode } as const;
  return { type: m.Tlopen, fid, flags: (mode & 3) | (mode & OTRUNC ? m.L_TRUNC : 0) } as const;
}

async function modeOf(peer: RawPeer, fid: number): Promise<number> {
  if (peer.dialect.linux) return (await peer.ok({ type: m.Tgetattr, fid, mask: 0x7ff }) as m.Rgetattr).dir.mode;
  return (await peer.ok({ type: m.Tstat, fid }) as m.Rstat).dir.mode;
}

async function nameOf(peer: RawPeer, fid: number): Promise<string> {
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

interface Entry {
  name: string;
  path: number | bigint;
  next: number | bigint;
}

async function readdirOf(peer: RawPeer, fid: number): Promise<Entry[]> {
  await peer.open(fid);
  return readdirL(peer, fid, 0, 8000);
}

async function readdirL(peer: RawPeer, fid: number, offset: number | bigint, count: number): Promise<Entry[]> {
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

async function listL(peer: RawPeer, fid: number): Promise<string[]> {
  await peer.walk(fid, 996);
  const entries = await readdirOf(peer, 996);
  await peer.clunk(996);
  return entries.map((e) => e.name);
}
