/**
 * The 9P conformance suite: open, create, read, write, directories, remove, stat and wstat.
 */

import assert from "node:assert/strict";
import * as m from "../../core/p9/msg.ts";
import { unixPermissions } from "../../core/p9/mode.ts";
import { getStat, wstatDir } from "../../core/p9/stat.ts";
import { Reader } from "../../core/p9/cursor.ts";
import { DMAPPEND, DMDIR, DMEXCL, OEXEC, ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE } from "../../core/p9/types.ts";
import {
  CLASSIC,
  cloned,
  DIALECTS,
  type Each,
  LINUX,
  listL,
  mkdir,
  modeOf,
  nameOf,
  openMsg,
  readdirL,
  walked,
} from "./p9_suite_steps.ts";
import { frame, RawPeer } from "./raw_peer.ts";

/** Open and create. */
export function openTests(each: Each): void {
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
  each(CLASSIC, "permissions of a new directory are cut by its directory's", async (peer) => {
    await peer.create(await cloned(peer, 1), "d", (DMDIR | 0o750) >>> 0, OREAD);
    await walked(peer, 1, "d");
    await peer.create(1, "e", (DMDIR | 0o777) >>> 0, OREAD);
    assert.equal(await modeOf(peer, 1) & 0o777, 0o750);
  });
  each(CLASSIC, "OEXEC reads what may be executed, and nothing else", async (peer) => {
    await peer.create(await cloned(peer, 1), "program", 0o755);
    await peer.write(1, "code");
    await peer.walk(0, 2, "program");
    await peer.open(2, OEXEC);
    assert.equal(await peer.read(2), "code");
    await peer.refused({ type: m.Twrite, fid: 2, offset: 0, data: new Uint8Array(1) });
    await peer.create(await cloned(peer, 3), "text", 0o644);
    await peer.walk(0, 4, "text");
    await peer.refused(openMsg(peer, 4, OEXEC));
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

/** Reads and writes. */
export function readWriteTests(each: Each): void {
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
  each(DIALECTS, "a message is never over msize, its header counted, and iounit says so", async (peer, subject) => {
    const small = await RawPeer.open(await subject.connect(), peer.dialect.name, { ...subject, msize: 8192 });
    const { iounit } = await small.create(await cloned(small, 1), "f") as m.Rcreate;
    assert.ok(iounit === 0 || (iounit > 7000 && iounit <= 8192 - 24), `iounit ${iounit}`);
    for (let at = 0; at < 20_000; at += 4000) await small.write(1, "x".repeat(4000), at);
    for (const count of [8192 - 11, 8192, 20_000, 0xffffffff]) {
      await small.send({ type: m.Tread, fid: 1, offset: 0, count });
      const { length } = (await small.receiveRaw())!;
      assert.ok(length > 8000 && length <= 8192, `a read of ${count} was answered with a message of ${length}`);
    }
    small.close();
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

/** Directories and their entries. */
export function directoryTests(each: Each): void {
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

/** Remove, stat, wstat, setattr. */
export function changeTests(each: Each): void {
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
    for (const name of ["a/b", "../g", ".", "..", "a\0b", "x".repeat(256)]) {
      await peer.refused({ type: m.Twstat, fid: 1, dir: wstatDir({ name }, 0) });
    }
    assert.equal(await nameOf(peer, 1), "g");
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
  each(LINUX, "who may write may take setuid and setgid away, and change no other bit", async (peer, subject) => {
    await peer.create(await cloned(peer, 1), "f");
    const none = { mode: 0, uid: 0, gid: 0, size: 0, atime: 0, atimeNsec: 0, mtime: 0, mtimeNsec: 0 };
    const chmod = (mode: number) => ({ type: m.Tsetattr, fid: 1, ...none, valid: m.SETATTR_MODE, mode } as const);
    await peer.ok(chmod(0o6776));
    const other = await RawPeer.open(await subject.connect(), peer.dialect.name, { ...subject, uid: 6, uname: "u6" });
    await other.walk(0, 1, "f");
    for (const mode of [0o6776, 0o6777, 0o777, 0o7776, 0o6774]) await other.refused(chmod(mode));
    await other.ok(chmod(0o776));
    await other.refused(chmod(0o4776));
    await peer.ok(chmod(0o6774));
    await other.refused(chmod(0o774));
    other.close();
  });
  each(
    LINUX,
    "an owner gives a file to any group, its setgid goes with it, and another may not",
    async (peer, subject) => {
      await peer.create(await cloned(peer, 1), "f");
      const none = { mode: 0, uid: 0, gid: 0, size: 0, atime: 0, atimeNsec: 0, mtime: 0, mtimeNsec: 0 };
      await peer.ok({ type: m.Tsetattr, fid: 1, ...none, valid: m.SETATTR_UID | m.SETATTR_GID, uid: 5, gid: 5 });
      await peer.ok({ type: m.Tsetattr, fid: 1, ...none, valid: m.SETATTR_MODE, mode: 0o6755 });
      const as = async (uid: number) =>
        await RawPeer.open(await subject.connect(), peer.dialect.name, { ...subject, uid, uname: `u${uid}` });
      for (const [uid, gid] of [[5, 7], [6, 8]]) {
        const other = await as(uid);
        await other.walk(0, 1, "f");
        const chgrp = { type: m.Tsetattr, fid: 1, ...none, valid: m.SETATTR_GID, gid } as const;
        if (uid === 5) await other.ok(chgrp);
        else await other.refused(chgrp);
        await other.refused({ type: m.Tsetattr, fid: 1, ...none, valid: m.SETATTR_UID, uid: 9 });
        other.close();
      }
      const { dir } = await peer.ok({ type: m.Tgetattr, fid: 1, mask: 0x7ff }) as m.Rgetattr;
      assert.deepEqual([dir.nuid, dir.ngid, unixPermissions(dir.mode).toString(8)], [5, 7, "755"]);
    },
  );
}
