/**
 * The 9P conformance suite: what 9P2000.L and 9P2000.u add: links, devices, renames, attributes, locks.
 */

import assert from "node:assert/strict";
import * as m from "../../core/p9/msg.ts";
import { ORDWR } from "../../core/p9/types.ts";
import { cloned, type Each, LINUX, listL, mkdir, walked } from "./p9_suite_steps.ts";
import { RawPeer } from "./raw_peer.ts";

/** What 9P2000.L and 9P2000.u add. */
export function linuxTests(each: Each): void {
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
  each(LINUX, "Trename moves a file to another directory, over what is there", async (peer) => {
    await mkdir(peer, "d");
    await peer.create(await cloned(peer, 1), "a");
    await peer.write(1, "A");
    await peer.create(await walked(peer, 2, "d"), "b");
    await peer.walk(0, 3, "d");
    await peer.ok({ type: m.Trename, fid: 1, dirfid: 3, name: "b" });
    await peer.refused({ type: m.Twalk, fid: 0, newfid: 4, names: ["a"] });
    await peer.walk(3, 4, "b");
    await peer.open(4);
    assert.equal(await peer.read(4), "A");
    await peer.ok({ type: m.Trename, fid: 4, dirfid: 0, name: "back" });
    await peer.walk(0, 5, "back");
    assert.equal(await peer.read(1), "A");
  });
  each(LINUX, "no request makes or moves to a name that no file can have", async (peer) => {
    await peer.create(await cloned(peer, 1), "f");
    for (const name of ["", ".", "..", "a/b", "../x", "/", "a\0b", "x".repeat(256)]) {
      const makers = [
        { type: m.Tmkdir, fid: 0, name, mode: 0o755, gid: 0 },
        { type: m.Tsymlink, fid: 0, name, target: "f", gid: 0 },
        { type: m.Tmknod, fid: 0, name, mode: 0o10644, major: 0, minor: 0, gid: 0 },
        { type: m.Tlink, dirfid: 0, fid: 1, name },
        { type: m.Trename, fid: 1, dirfid: 0, name },
        { type: m.Trenameat, fid: 0, oldname: "f", newdirfid: 0, newname: name },
      ] as const;
      for (const request of makers) await peer.refused(request);
    }
    assert.deepEqual(await listL(peer, 0), ["f"]);
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
  each(
    ["9P2000.L.r9"],
    "locks: who may wait is answered when the lock is free; a flush ends the wait",
    async (peer, subject) => {
      await peer.create(await cloned(peer, 1), "f");
      const other = await RawPeer.open(await subject.connect(), peer.dialect.name, subject);
      await other.walk(0, 1, "f");
      await other.open(1, ORDWR);
      const lock = (type: number, flags: number) => (
        { type: m.Tlock, fid: 1, lock: { type, flags, start: 0, length: 0, procId: 1, clientId: "host" } } as const
      );
      assert.equal((await peer.ok(lock(1, 1)) as m.Rlock).status, 0);
      const [flushed] = await other.send(lock(1, 1));
      await other.ok({ type: m.Tflush, oldtag: flushed });
      const [waiting] = await other.send(lock(1, 1));
      await other.ok({ ...lock(1, 0), type: m.Tgetlock });
      assert.equal((await peer.ok(lock(2, 0)) as m.Rlock).status, 0);
      const granted = await other.receive() as m.Rlock;
      assert.deepEqual([granted.tag, granted.type, granted.status], [waiting, m.Rlock, 0]);
      assert.equal((await peer.ok(lock(1, 0)) as m.Rlock).status, 1);
      other.close();
    },
  );
  each(
    ["9P2000.L"],
    "locks: who may wait is told at once to ask again, as Linux's client does",
    async (peer, subject) => {
      await peer.create(await cloned(peer, 1), "f");
      const other = await RawPeer.open(await subject.connect(), peer.dialect.name, subject);
      await other.walk(0, 1, "f");
      await other.open(1, ORDWR);
      const lock = { type: 1, flags: 1, start: 0, length: 0, procId: 1, clientId: "host" };
      assert.equal((await peer.ok({ type: m.Tlock, fid: 1, lock }) as m.Rlock).status, 0);
      assert.equal((await other.ok({ type: m.Tlock, fid: 1, lock }) as m.Rlock).status, 1);
      other.close();
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
