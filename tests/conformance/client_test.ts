/**
 * Client and server of the library against each other, in every dialect and over transports of both kinds.
 *
 * Layer: tests/conformance. What the server does is the suite's affair (p9_suite.ts); here it is the client's way to
 * say it, which has to be the same in every dialect.
 */

import assert from "node:assert/strict";
import { Client, DMDIR, DMSYMLINK, Err, ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE, transportPair } from "deno-9p";
import type { Dialect } from "../../core/p9/msg.ts";
import { Srv } from "../../core/p9/srv.ts";
import type { Transport } from "../../core/p9/transport.ts";
import { portTransport } from "../../core/p9/transport_port.ts";
import { RamDev, ramOptions } from "../../plugins/ram/mod.ts";

const clock = { now: Date.now, monotonic: () => performance.now(), after: () => () => {} };

const TRANSPORTS: Record<string, () => [Transport, Transport]> = {
  "pair": () => transportPair(),
  "pair of 100 bytes": () => transportPair({ capacity: 100 }),
  "port": () => {
    const { port1, port2 } = new MessageChannel();
    return [portTransport(port1), portTransport(port2)];
  },
};

function fails(code: string): (e: unknown) => boolean {
  return (e) => e instanceof Err && e.code === code;
}

function pattern(length: number): Uint8Array {
  return new Uint8Array(length).map((_, i) => (i * 7) ^ (i >> 8));
}

async function withClient(
  dialect: Dialect,
  make: () => [Transport, Transport],
  body: (client: Client) => Promise<void>,
): Promise<void> {
  const srv = new Srv(new RamDev("ram", clock, "hostowner", ramOptions({})));
  const [near, far] = make();
  const serving = srv.serve(far);
  const client = await Client.connect(near, { dialects: [dialect], uname: "root", uid: 0, clock });
  assert.equal(client.dialect, dialect);
  await body(client);
  await client.close();
  await serving;
  assert.equal(srv.sessions.size, 0);
}

async function useFiles(client: Client): Promise<void> {
  await client.mkdir("/d");
  const bytes = pattern(300_001);
  await client.writeFile("/d/f", bytes);
  assert.deepEqual(await client.readFile("/d/f"), bytes);
  await client.writeFile("/d/f", "short");
  assert.equal(await client.readText("/d/f"), "short");
  const { name, length, mode } = await client.stat("/d/f");
  assert.deepEqual([name, length, mode & DMDIR], ["f", 5, 0]);
  assert.equal((await client.stat("/d")).mode >>> 31, 1);
  assert.equal((await client.stat("/")).name, "/");
  await client.wstat("/d/f", { name: "g", mode: 0o600, length: 3, mtime: { sec: 1000, nsec: 0 } });
  const changed = await client.stat("/d/g");
  assert.deepEqual([changed.mode & 0o777, changed.length, changed.mtime], [0o600, 3, 1000]);
  await client.wstat("/d/g", { mtime: "now" });
  assert.ok((await client.stat("/d/g")).mtime > 1_600_000_000);
  await client.rename("/d/g", "/d/h");
  await assert.rejects(client.stat("/d/g"), fails("ENOENT"));
  await assert.rejects(client.create("/d/h"), fails("EEXIST"));
  await assert.rejects(client.remove("/d"), fails("ENOTEMPTY"));
  await client.remove("/d/h");
  await client.remove("/d");
  assert.deepEqual(await client.list("/"), []);
}

async function useDirectories(client: Client): Promise<void> {
  const names = Array.from({ length: 300 }, (_, i) => `ä${i}`);
  await Promise.all(names.map((name) => client.writeFile(`/${name}`, name)));
  for (const stats of [false, true]) {
    const dirs = await client.list("/", { stats });
    assert.deepEqual(dirs.map((dir) => dir.name).sort(), [...names].sort());
    if (stats) assert.ok(dirs.every((dir) => dir.length === new TextEncoder().encode(dir.name).length));
  }
  const root = await client.root(), seen = new Set<string>();
  for await (const entry of root.readdir()) seen.add(entry.dir.name);
  assert.deepEqual(seen, new Set(names));
  assert.equal(root.mode, -1);
  const temporary = await client.create("/temporary", 0o600, ORDWR | ORCLOSE);
  await temporary.writeAll(pattern(10));
  await temporary.close();
  await assert.rejects(client.stat("/temporary"), fails("ENOENT"));
  const file = await client.open(`/${names[0]}`, OWRITE | OTRUNC);
  assert.equal((await file.stat()).length, 0);
  await assert.rejects(file.open(OREAD), fails("EINVAL"));
  await file.fsync();
  await file.remove();
  await assert.rejects(client.stat(`/${names[0]}`), fails("ENOENT"));
}

async function useLinks(client: Client): Promise<void> {
  const { dialect } = client;
  await client.writeFile("/f", "linked");
  const root = await client.root();
  await using file = await client.walk("/f");
  if (dialect === "9P2000") {
    await assert.rejects(root.symlink("s", "f"), fails("EOPNOTSUPP"));
    await assert.rejects(root.link(file, "l"), fails("EOPNOTSUPP"));
    return;
  }
  await root.symlink("s", "../f");
  await using link = await client.walk("/s");
  assert.ok(link.isSymlink && ((await link.stat()).mode & DMSYMLINK));
  assert.equal(await link.readlink(), "../f");
  await root.link(file, "l");
  assert.equal(await client.readText("/l"), "linked");
  await client.mkdir("/d");
  if (dialect === "9P2000.u") return await assert.rejects(client.rename("/l", "/d/l"), fails("EXDEV"));
  await client.rename("/l", "/d/l");
  assert.equal(await client.readText("/d/l"), "linked");
  await file.setxattr("user.a", pattern(10));
  assert.deepEqual(await file.getxattr("user.a"), pattern(10));
  assert.deepEqual(await file.listxattr(), ["user.a"]);
  assert.ok((await file.statfs()).bsize > 0);
  await using open = await client.open("/f", ORDWR);
  assert.equal(await open.lock({ type: 1 }), true);
  assert.equal(await open.getlock({ type: 1 }), null);
}

for (const dialect of ["9P2000.L.r9", "9P2000.L", "9P2000.u", "9P2000"] as const) {
  for (const [transport, make] of Object.entries(TRANSPORTS)) {
    Deno.test(`client in ${dialect} over a ${transport}: files, directories, links`, async () => {
      await withClient(dialect, make, useFiles);
      await withClient(dialect, make, useDirectories);
      await withClient(dialect, make, useLinks);
    });
  }
}
