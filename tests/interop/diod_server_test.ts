/**
 * Our client against Debian's diod, which serves a directory in memory by 9P2000.L.
 *
 * Layer: tests/interop. What the client says is looked up in the host's directory, past both of them.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { Client, DMNAMEDPIPE, DMSYMLINK, Err, ORDWR, OREAD, type RemoteFile } from "deno-9p";
import { dial } from "../../core/host/transports.ts";
import { interop, program } from "../skip.ts";
import { startDiod } from "./servers.ts";

/** A test with a diod of its own: the client's root is `dir` on the host. */
function diodTest(name: string, body: (client: Client, dir: string) => Promise<void>): void {
  interop(`client and diod: ${name}`, { needs: [program("diod")] }, async () => {
    await using server = await startDiod();
    const transport = await dial(`tcp!${server.host}!${server.port}`);
    await using client = await Client.connect(transport, { uname: "root", uid: 0, aname: server.aname });
    await body(client, server.aname);
  });
}

/** Bytes that differ from each other and from their neighbours'. */
function pattern(length: number): Uint8Array {
  return new Uint8Array(length).map((_, i) => (i * 7 + (i >> 11)) & 0xff);
}

function failsWith(code: string): (e: unknown) => boolean {
  return (e) => e instanceof Err && e.code === code;
}

diodTest("9P2000.L is agreed on though 9P2000.L.r9 is offered first", async (client) => {
  assert.equal(client.dialect, "9P2000.L");
  assert.ok(client.msize >= 8192);
});

diodTest("files of many messages are written and read back", async (client, dir) => {
  const bytes = pattern(3_000_001);
  await client.writeFile("/work/big", bytes);
  assert.deepEqual(await Deno.readFile(join(dir, "work/big")), bytes);
  assert.deepEqual(await client.readFile("/work/big"), bytes);
  await using file = await client.open("/work/big", ORDWR);
  const part = new Uint8Array(500_000);
  assert.equal(await file.read(part, 2_800_000), 200_001);
  assert.deepEqual(part.subarray(0, 200_001), bytes.subarray(2_800_000));
  await file.writeAll(pattern(200_000).fill(9), 1_000_000);
  assert.equal((await Deno.readFile(join(dir, "work/big")))[1_199_999], 9);
  await file.wstat({ length: 10 });
  assert.equal((await file.stat()).length, 10);
});

diodTest("web streams carry a file in both directions", async (client, dir) => {
  const bytes = pattern(1_000_003);
  await using to = await client.create("/work/streamed");
  await new Blob([new Uint8Array(bytes)]).stream().pipeTo(to.writable());
  assert.deepEqual(await Deno.readFile(join(dir, "work/streamed")), bytes);
  await using from = await client.open("/work/streamed");
  assert.deepEqual(new Uint8Array(await new Response(from.readable()).arrayBuffer()), bytes);
});

diodTest("rename, hard link, symlink, fifo, mkdir and remove do what they say", async (client, dir) => {
  const at = (path: string) => join(dir, path);
  await client.writeFile("/work/a", "text");
  await client.mkdir("/work/d", 0o750);
  assert.equal(Deno.statSync(at("work/d")).mode! & 0o777, 0o750);
  await client.rename("/work/a", "/work/d/b");
  await client.wstat("/work/d/b", { name: "c", mode: 0o600, mtime: { sec: 1_000_000_000, nsec: 5 } });
  assert.equal(Deno.statSync(at("work/d/c")).mtime!.getTime(), 1_000_000_000_000);

  await using work = await client.walk("/work");
  await using file = await client.walk("/work/d/c");
  await work.link(file, "hard");
  assert.equal((await file.stat()).nlink, 2);
  await work.symlink("soft", "d/c");
  assert.equal(Deno.readLinkSync(at("work/soft")), "d/c");
  await using soft = await client.walk("/work/soft");
  assert.equal(await soft.readlink(), "d/c");
  assert.ok((await soft.stat()).mode & DMSYMLINK);
  await work.mknod("fifo", DMNAMEDPIPE | 0o600);
  assert.ok(Deno.lstatSync(at("work/fifo")).isFifo);

  await assert.rejects(client.remove("/work/d"), failsWith("ENOTEMPTY"));
  for (const path of ["/work/d/c", "/work/d", "/work/hard", "/work/soft", "/work/fifo"]) await client.remove(path);
  assert.deepEqual([...Deno.readDirSync(at("work"))], []);
});

diodTest("errors have the server's number", async (client) => {
  await assert.rejects(client.readFile("/work/none/such"), failsWith("ENOENT"));
  await assert.rejects(client.create("/work"), failsWith("EEXIST"));
  await client.writeFile("/work/file", "");
  await assert.rejects(client.create("/work/file"), failsWith("EEXIST"));
  await assert.rejects(client.list("/work/file"), (e) => e instanceof Err);
  await assert.rejects(client.attach({ aname: "/not/exported" }), (e) => e instanceof Err);
});

diodTest("a directory of 1,000 entries is listed whole, with their stats", async (client, dir) => {
  const names = Array.from({ length: 1000 }, (_, i) => `entry-${i}-ä€𝄞`);
  for (const name of names) await Deno.writeTextFile(join(dir, "work", name), name);
  const listed = await client.list("/work", { stats: true });
  assert.deepEqual(listed.map((entry) => entry.name).sort(), names.sort());
  for (const entry of listed) assert.equal(entry.length, new TextEncoder().encode(entry.name).length);
});

diodTest("extended attributes are set, read, listed and removed", async (client) => {
  await client.writeFile("/work/file", "");
  await using file = await client.walk("/work/file");
  const value = pattern(1000);
  try {
    await file.setxattr("user.test", value);
  } catch (e) {
    // tmpfs has them since Linux 6.6
    if (!failsWith("EOPNOTSUPP")(e)) throw e;
    return console.log("skipped: the file system under diod has no extended attributes");
  }
  assert.deepEqual(await file.getxattr("user.test"), value);
  assert.deepEqual(await file.listxattr(), ["user.test"]);
  await assert.rejects(file.setxattr("user.test", value, 1), failsWith("EEXIST"));
  await file.setxattr("user.test", null);
  await assert.rejects(file.getxattr("user.test"), failsWith("ENODATA"));
});

diodTest("a lock keeps another client out", async (client, dir) => {
  const WRITE = 1, UNLOCK = 2;
  await client.writeFile("/work/file", "locked");
  const transport = await dial(client.remote);
  await using other = await Client.connect(transport, { uname: "root", uid: 0, aname: dir });
  await using mine = await client.open("/work/file", ORDWR);
  await using theirs = await other.open("/work/file", ORDWR);
  assert.equal(await mine.lock({ type: WRITE, clientId: "one", procId: 1 }), true);
  assert.equal(await theirs.lock({ type: WRITE, clientId: "two", procId: 2 }), false);
  assert.equal((await theirs.getlock({ type: WRITE, clientId: "two", procId: 2 }))?.type, WRITE);
  assert.equal(await mine.lock({ type: UNLOCK, clientId: "one", procId: 1 }), true);
  assert.equal(await theirs.lock({ type: WRITE, clientId: "two", procId: 2 }), true);
});

diodTest("statfs, fsync and what a closed file refuses", async (client) => {
  await client.writeFile("/work/file", "x");
  await using file = await client.open("/work/file", ORDWR);
  const { bsize, blocks, namelen } = await file.statfs();
  assert.ok(bsize > 0 && Number(blocks) > 0 && namelen >= 255);
  await file.fsync();
  await file.fsync(true);
  await file.close();
  await assert.rejects(async () => await file.stat(), failsWith("EBADF"));
});

diodTest("aborted reads give their bytes or EINTR, and the connection goes on", async (client) => {
  await client.writeFile("/work/file", pattern(1_000_000));
  await using file = await client.open("/work/file");
  const giveUp = new AbortController();
  const reads = Array.from({ length: 100 }, (_, i) => file.read(new Uint8Array(4096), i * 4096, giveUp.signal));
  queueMicrotask(() => queueMicrotask(() => giveUp.abort())); // they have been sent by then
  for (const read of await Promise.allSettled(reads)) {
    if (read.status === "fulfilled") assert.equal(read.value, 4096);
    else assert.ok(failsWith("EINTR")(read.reason));
  }
  assert.equal((await client.readFile("/work/file")).length, 1_000_000);
});

diodTest("an aborted open that the server does not cancel ends with the server's answer", async (client, dir) => {
  await using work = await client.walk("/work");
  await work.mknod("fifo", DMNAMEDPIPE | 0o600);
  await client.writeFile("/work/file", "alive");
  await using fifo: RemoteFile = await client.walk("/work/fifo");
  const giveUp = new AbortController();
  const opening = fifo.open(OREAD, { signal: giveUp.signal }); // diod waits for somebody who writes
  assert.equal(await client.readText("/work/file"), "alive");
  giveUp.abort();
  assert.equal(await client.readText("/work/file"), "alive");
  using _writer = await Deno.open(join(dir, "work/fifo"), { write: true });
  const [{ status }] = await Promise.allSettled([opening]);
  assert.equal(status, fifo.mode >= 0 ? "fulfilled" : "rejected");
  assert.equal(await client.readText("/work/file"), "alive");
});
