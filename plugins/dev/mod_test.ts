import assert from "node:assert/strict";
import { type Ctx, ORDWR, OREAD, OWRITE, Req } from "../../core/plugin/author.ts";
import plugin from "./mod.ts";

const owner = { name: "glenda", uid: 1, gid: 1 }, other = { name: "ken", uid: 2, gid: 2 };

class Fixture {
  now = 1_700_000_000_123.5;
  ticks = 5_000.25;
  randomCalls: number[] = [];
  readonly ctx: Ctx = {
    name: "dev",
    options: {},
    clock: { now: () => this.now, monotonic: () => this.ticks, after: () => () => {} },
    hostowner: "glenda",
    sysname: "gnot",
    signal: new AbortController().signal,
    log: () => {},
    random: (bytes) => {
      this.randomCalls.push(bytes.length);
      bytes.fill(0x5a);
    },
    defer: () => {},
  };

  async open(name: string, mode = OREAD, user = owner) {
    const dev = await plugin.start(this.ctx, "fresh"), req = new Req(user);
    return this.openIn(dev, name, mode, req);
  }

  async openIn(dev: Awaited<ReturnType<typeof plugin.start>>, name: string, mode: number, req: Req) {
    const root = await dev.attach(req.user, "", req);
    const c = await dev.open((await dev.walk(root, [name], req)).chan!, mode, req);
    return {
      write: async (text: string) => await dev.write(c, new TextEncoder().encode(text), 0, req),
      read: async (count = 100, offset = 0) => {
        const dst = new Uint8Array(count).fill(0xee), got = await dev.read(c, dst, offset, req);
        return typeof got === "number" ? dst.subarray(0, got) : got;
      },
    };
  }

  async text(name: string, user = owner): Promise<string> {
    return new TextDecoder().decode(await (await this.open(name, OREAD, user)).read());
  }
}

Deno.test("null is empty and takes all, zero is endless, full takes nothing", async () => {
  const f = new Fixture();
  const [none, zero, full] = [await f.open("null", ORDWR), await f.open("zero", ORDWR), await f.open("full", ORDWR)];
  assert.deepEqual([(await none.read()).length, await none.write("abc"), await zero.write("abc")], [0, 3, 3]);
  assert.deepEqual(await zero.read(9, 2 ** 40), new Uint8Array(9));
  assert.deepEqual(await full.read(9), new Uint8Array(9));
  await assert.rejects(full.write("x"), { code: "ENOSPC" });
});

Deno.test("random fills any count from the system's source, in pieces that the source can give", async () => {
  const f = new Fixture();
  for (const name of ["random", "urandom"]) {
    assert.ok((await (await f.open(name)).read(200_000)).every((byte) => byte === 0x5a));
  }
  assert.deepEqual(f.randomCalls.slice(0, 4), [65536, 65536, 65536, 3392]);
});

Deno.test("time has Plan 9's four columns, and is new at each read from the start", async () => {
  const f = new Fixture(), time = await f.open("time");
  const text = async () => new TextDecoder().decode(await time.read());
  const first = await text();
  assert.equal(first, " 1700000000   1700000000123500000            5000250000            1000000000 ");
  assert.equal(first.length, 78);
  f.now += 1000;
  assert.equal(new TextDecoder().decode(await time.read(100, 70)), first.slice(70));
  assert.deepEqual((await text()).slice(0, 12), " 1700000001 ");
});

Deno.test("bintime has the same as big-endian numbers", async () => {
  const bytes = await (await new Fixture().open("bintime")).read();
  const view = new DataView(bytes.slice().buffer);
  assert.deepEqual([0, 8, 16].map((at) => view.getBigInt64(at)), [1700000000123500000n, 5000250000n, 1000000000n]);
});

Deno.test("user is who asks, hostowner who runs the system", async () => {
  const f = new Fixture();
  assert.deepEqual([await f.text("user", other), await f.text("hostowner", other)], ["ken", "glenda"]);
});

Deno.test("sysname is set by the host owner, to a name", async () => {
  const f = new Fixture(), dev = await plugin.start(f.ctx, "fresh");
  const open = (mode: number, user = owner) => f.openIn(dev, "sysname", mode, new Req(user));
  const read = async () => new TextDecoder().decode(await (await open(OREAD, other)).read());
  assert.equal(await read(), "gnot");
  await assert.rejects(open(OWRITE, other), { code: "EACCES" });
  await (await open(OWRITE)).write("kremvax\n");
  for (const bad of ["", "a b", "x".repeat(65), "a\0b"]) {
    await assert.rejects((await open(OWRITE)).write(bad), { code: "EINVAL" });
  }
  assert.equal(await read(), "kremvax");
});
