import assert from "node:assert/strict";
import { join } from "node:path";
import { Req } from "../../core/dev.ts";
import { ORDWR } from "../../core/p9/types.ts";
import { start } from "../../core/plugin/testing.ts";
import { ffi, interop } from "../../tests/skip.ts";
import sd from "./mod.ts";

Deno.test("sd: a disk has ctl, raw, data; parts come and go by ctl and are bounded", async () => {
  await using running = await start(sd, { options: { disks: ["sdF0=ram!65536"] } });
  const { files } = running;
  assert.deepEqual(await files.list(""), ["sdctl", "sdF0"]);
  assert.equal(await files.read("sdctl"), "sdF0 rw 65536 ram!65536\n");
  assert.equal(await files.read("sdF0/ctl"), "inquiry ring9 ram!65536\ngeometry 128 512\npart data 0 128\n");
  await files.write("sdF0/ctl", "part boot 2 4");
  await files.write("sdF0/boot", "hello");
  const data = await files.open("sdF0/data", ORDWR);
  assert.equal((await data.read()).slice(1024, 1029), "hello");
  assert.equal((await files.stat("sdF0/boot")).length, 1024);
  await assert.rejects(files.write("sdF0/ctl", "part boot 5 6"), { code: "EEXIST" });
  await assert.rejects(files.write("sdF0/ctl", "part far 100 200"), { code: "EINVAL" });
  await assert.rejects(files.write("sdctl", "detach sdF0"), { code: "EBUSY" });
  const boot = await files.open("sdF0/boot", ORDWR);
  await files.write("sdF0/ctl", "delpart boot");
  await assert.rejects(boot.read(), { code: "EIO" });
  await assert.rejects(files.read("sdF0/boot"), { code: "ENOENT" });
  await files.write("sdctl", "detach sdF0 force");
  await assert.rejects(data.read(), { code: "ESTALE" });
  assert.deepEqual(await files.list(""), ["sdctl"]);
});

Deno.test("sd: raw takes SCSI commands: command, data, status", async () => {
  await using running = await start(sd, { options: { disks: ["sdF0=ram!65536"] } });
  const { dev } = running, req = new Req({ name: "root", uid: 0, gid: 0 }), into = new Uint8Array(4096);
  const root = await dev.attach(req.user, "", req);
  const { chan } = await dev.walk(root, ["sdF0", "raw"], req);
  const raw = await dev.open(chan!, ORDWR, req);
  await assert.rejects(async () => await dev.open((await dev.walk(root, ["sdF0", "raw"], req)).chan!, ORDWR, req), {
    code: "EAGAIN",
  });
  const read = async () => {
    const got = await dev.read(raw, into, 0, req);
    return typeof got === "number" ? into.slice(0, got) : got.slice();
  };
  const status = async () => new TextDecoder().decode(await read()).trim();
  const command = (...bytes: number[]) => dev.write(raw, Uint8Array.from(bytes), 0, req);
  await command(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  const capacity = new DataView((await read()).buffer);
  assert.deepEqual([capacity.getUint32(0), capacity.getUint32(4), await status()], [127, 512, "0"]);
  await command(0x2a, 0, 0, 0, 0, 3, 0, 0, 1, 0);
  await dev.write(raw, new Uint8Array(512).fill(9), 0, req);
  assert.equal(await status(), "0");
  await command(0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0);
  assert.deepEqual(await read(), new Uint8Array(512).fill(9));
  assert.equal(await status(), "0");
  await command(0x28, 0, 0, 0, 1, 0, 0, 0, 1, 0);
  assert.equal((await read()).length, 0);
  assert.equal(await status(), "2");
  await command(0x03, 0, 0, 0, 18, 0);
  assert.equal((await read())[2], 5, "illegal request");
  assert.equal(await status(), "0");
  await command(0x12, 0, 0, 0, 36, 0);
  assert.match(new TextDecoder().decode(await read()), /ring9 +sdF0/);
});

interop("sd: a file of the host, written by bytes, is one owner's", { needs: [ffi] }, async () => {
  const dir = await Deno.makeTempDir({ prefix: "ring9-sd-" }), path = join(dir, "disk");
  try {
    await Deno.writeFile(path, new Uint8Array(1 << 16));
    await using running = await start(sd);
    const { files } = running;
    await files.write("sdctl", `attach sd00 ${path}`);
    await assert.rejects(files.write("sdctl", `attach sd01 ${path}`), { code: "EBUSY" });
    await assert.rejects(files.write("sdctl", "attach disk /none"), { code: "EINVAL" });
    await assert.rejects(files.write("sdctl", "attach sd01 /none"), { code: "ENOENT" });
    await files.write("sd00/data", "some bytes");
    await files.write("sdctl", "detach sd00");
    assert.equal(new TextDecoder().decode((await Deno.readFile(path)).subarray(0, 10)), "some bytes");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
