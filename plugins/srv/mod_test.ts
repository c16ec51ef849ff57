import assert from "node:assert/strict";
import { type Code, Err } from "../../core/err.ts";
import { bootKernel } from "../../core/kernel_testing.ts";
import { Mnt } from "../../core/mnt.ts";
import { MemDev } from "../../core/ns_testdev.ts";
import { Srv } from "../../core/p9/srv.ts";
import { FileTransport } from "../../core/file_transport.ts";
import { transportPair } from "../../core/p9/transport_pair.ts";
import { ORDWR, OREAD, OWRITE } from "../../core/p9/types.ts";
import pipe from "../pipe/mod.ts";
import plugin from "./mod.ts";

const ken = { name: "ken", uid: 2, gid: 2 }, rob = { name: "rob", uid: 3, gid: 3 };
const code = (code: Code) => (thrown: unknown) => thrown instanceof Err && thrown.code === code;

const boot = () =>
  bootKernel({
    plugins: { srv: plugin, pipe },
    root: ["srv/", "n/"],
    binds: { "/srv": "#srv" },
    dial: async (address) => {
      if (address !== "tcp!host!564") throw new Err("ECONNREFUSED");
      const [here, there] = transportPair();
      void new Srv(new MemDev("remote", ["r/x"])).serve(there);
      return await Mnt.connect(here);
    },
  });

Deno.test("a tree that the kernel posts is mounted by its name", async () => {
  const { kernel, init } = await boot();
  kernel.services.post("tree", kernel.hostowner, 0o600, 0, { dev: new MemDev("tree", ["a/f"]) });
  await init.mount("/srv/tree", "/n", 0, "a");
  assert.equal(await init.readText("/n/f"), "tree:a/f");
  assert.equal(init.nsText().split("\n")[1], "mount /srv/tree /n a");
  const fd = await init.open("/srv/tree", ORDWR);
  await assert.rejects(init.read(fd, new Uint8Array(1)), /tree is a tree: mount it/);
  await assert.rejects(init.spawn({ user: ken }).mount("/srv/tree", "/n"), code("EACCES"));
  await init.remove("/srv/tree");
  assert.equal(await init.readText("/n/f"), "tree:a/f");
  await assert.rejects(init.mount("/srv/tree", "/n"), code("ENOENT"));
});

Deno.test("a dial string that is written is dialed, for the hostowner alone", async () => {
  const { init } = await boot();
  const fd = await init.create("/srv/host", OWRITE, 0o600);
  await assert.rejects(init.write(fd, "tcp!other!564"), code("ECONNREFUSED"));
  await init.write(fd, "tcp!host!564\n");
  await init.close(fd);
  await init.mount("/srv/host", "/n");
  assert.equal(await init.readText("/n/r/x"), "remote:r/x");
  const other = init.spawn({ user: ken });
  const theirs = await other.create("/srv/theirs", OWRITE, 0o600);
  await assert.rejects(other.write(theirs, "tcp!host!564"), /dialing out is for glenda/);
  await assert.rejects(other.write(theirs, "hello"), /neither a file's number nor a dial string/);
});

Deno.test("an open file that is posted by its number is shared, and carries a mount", async () => {
  const { init } = await boot();
  const [near, far] = await init.pipe();
  const server = new Srv(new MemDev("served", ["f"]));
  void server.serve(new FileTransport(init.fgrp.get(far).hold(), "pipe"));
  const fd = await init.create("/srv/piped", OWRITE, 0o666);
  await assert.rejects(init.write(fd, "77"), code("EBADF"));
  await init.write(fd, String(near));
  await init.close(fd);
  await init.close(near);
  await init.mount("/srv/piped", "/n");
  assert.equal(await init.readText("/n/f"), "served:f");
  server.close();
});

Deno.test("bytes go through a posted pipe to whoever opens it", async () => {
  const { init } = await boot();
  await init.rfork({ noMount: true });
  const [near, far] = await init.pipe();
  await init.close(await init.create("/srv/text", OWRITE, 0o622));
  await assert.rejects(init.open("/srv/text", OREAD).then((fd) => init.read(fd, new Uint8Array(9))), code("ESHUTDOWN"));
  await init.writeText("/srv/text", String(near));
  const other = init.spawn({ user: ken });
  await assert.rejects(other.open("/srv/text", OREAD), code("EACCES"));
  await other.writeText("/srv/text", "hello");
  const into = new Uint8Array(9);
  assert.equal(new TextDecoder().decode(into.subarray(0, await init.read(far, into))), "hello");
});

Deno.test("names clash, are listed, renamed and removed by their owner", async () => {
  const { init } = await boot();
  const owner = init.spawn({ user: ken }), other = init.spawn({ user: rob });
  for (const name of ["a", "b", "c"]) await owner.close(await owner.create(`/srv/${name}`, OWRITE, 0o640));
  await assert.rejects(owner.create("/srv/a", OWRITE, 0o600, { exclusive: true }), code("EEXIST"));
  assert.deepEqual((await other.list("/srv")).map(({ name, uid, mode }) => [name, uid, mode]), [
    ["a", "ken", 0o640],
    ["b", "ken", 0o640],
    ["c", "ken", 0o640],
  ]);
  await assert.rejects(other.remove("/srv/a"), /service a is ken's/);
  await assert.rejects(other.wstat("/srv/a", { mode: 0o666 }), code("EACCES"));
  await assert.rejects(owner.wstat("/srv/a", { name: "b" }), code("EEXIST"));
  await assert.rejects(owner.wstat("/srv/a", { uid: "rob" }), code("EPERM"));
  await owner.wstat("/srv/a", { name: "z", mode: 0o600 });
  await owner.remove("/srv/b");
  assert.deepEqual((await other.list("/srv")).map(({ name, mode }) => [name, mode]), [["z", 0o600], ["c", 0o640]]);
  await assert.rejects(owner.create("/srv/d/e"), code("ENOENT"));
});
