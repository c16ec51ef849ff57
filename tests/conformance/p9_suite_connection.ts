/**
 * The 9P conformance suite: versions, attach, flush, walks, and frames that are no messages.
 */

import assert from "node:assert/strict";
import * as m from "../../core/p9/msg.ts";
import { MAX_MSIZE, NOFID, NONUNAME, NOTAG, ORCLOSE, ORDWR } from "../../core/p9/types.ts";
import { CLASSIC, cloned, DIALECTS, type Each, type Fresh, LINUX, mkdir, nameOf } from "./p9_suite_steps.ts";
import { frame, RawPeer, type Untagged } from "./raw_peer.ts";

/** Versions, attach, auth, flush, many requests at once. */
export function versionTests(fresh: Fresh, each: Each): void {
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
  each(DIALECTS, "a request without a tag is refused", async (peer) => {
    await peer.refused({ type: m.Twalk, tag: NOTAG, fid: 0, newfid: 1, names: [] });
    await peer.walk(0, 1);
  });
  each(DIALECTS, "what a lost connection had open with ORCLOSE is removed", async (peer, subject) => {
    const dying = await RawPeer.open(await subject.connect(), "9P2000", subject);
    await dying.walk(0, 1);
    await dying.create(1, "until the end", 0o600, ORDWR | ORCLOSE);
    await peer.walk(0, 1, "until the end");
    dying.close();
    const walk: Untagged = { type: m.Twalk, fid: 0, newfid: 2, names: ["until the end"] };
    for (let tries = 0; (await peer.rpc(walk)).type === m.Rwalk; tries++) {
      assert.ok(tries < 100_000, "it stays");
      await peer.clunk(2);
    }
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

/** Walks. */
export function walkTests(each: Each): void {
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
}

/** Frames that are too short, too long, or nothing. */
export function frameTests(fresh: Fresh, each: Each): void {
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
