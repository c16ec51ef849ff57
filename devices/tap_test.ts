import assert from "node:assert/strict";
import { netTest, run } from "../tests/netns.ts";
import { program } from "../tests/skip.ts";
import { CHECKSUM, GSO, PLAIN } from "../core/link.ts";
import { frameOf, type Got, Keeper, send } from "./frames_fixture.ts";
import { openPacket } from "./packet.ts";
import { openTap, type Tap } from "./tap.ts";

const OUR_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);
const LINUX = "10.99.0.1", OURS = "10.99.0.2";

const isUdp = ({ bytes }: Got) => bytes[12] === 8 && bytes[13] === 0 && bytes[23] === 17;

async function withTap(fn: (tap: Tap, keeper: Keeper) => Promise<void>, mtu = 1500): Promise<void> {
  const tap = openTap({ name: "tap0", mac: OUR_MAC, up: true, mtu, address: `${LINUX}/24`, txqueuelen: 1000 });
  const keeper = new Keeper();
  try {
    tap.attach(keeper);
    await run("ip", "neigh", "replace", OURS, "lladdr", "02:00:00:00:00:02", "dev", "tap0", "nud", "permanent");
    await fn(tap, keeper);
  } finally {
    await tap.close();
  }
}

/** UDP by the host's own socket; `gso` cuts what is sent into segments of that size. */
class HostUdp {
  readonly #libc = Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "isize" },
    recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });
  readonly #fd: number;
  constructor(port: number) {
    const c = this.#libc.symbols;
    this.#fd = c.socket(2, 2 | 0o4000, 0);
    assert(this.#fd >= 0);
    assert.equal(c.bind(this.#fd, sockaddr("0.0.0.0", port), 16), 0);
  }
  send(to: string, port: number, bytes: Uint8Array<ArrayBuffer>, gso = 0) {
    const c = this.#libc.symbols;
    assert.equal(c.setsockopt(this.#fd, 17, 103, new Int32Array([gso]), 4), 0, "UDP_SEGMENT");
    assert.equal(Number(c.sendto(this.#fd, bytes, BigInt(bytes.length), 0, sockaddr(to, port), 16)), bytes.length);
  }
  receive(): Uint8Array | undefined {
    const into = new Uint8Array(65536);
    const got = Number(this.#libc.symbols.recv(this.#fd, into, 65536n, 0));
    return got < 0 ? undefined : into.subarray(0, got);
  }
  [Symbol.dispose]() {
    this.#libc.symbols.close(this.#fd);
    this.#libc.close();
  }
}

function sockaddr(ip: string, port: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array([2, 0, port >> 8, port & 255, ...ip.split(".").map(Number), 0, 0, 0, 0, 0, 0, 0, 0]);
}

async function linuxMac(keeper: Keeper, udp: HostUdp): Promise<Uint8Array> {
  udp.send(OURS, 1, new Uint8Array(1));
  return (await keeper.find(isUdp)).bytes.slice(6, 12);
}

netTest("tap: a frame of Linux arrives with its checksum left to us, ours leaves with it left to Linux", [
  program("ip"),
], async () => {
  await withTap(async (tap, keeper) => {
    using udp = new HostUdp(9);
    const mac = await linuxMac(keeper, udp);
    udp.send(OURS, 4242, new Uint8Array(1000).fill(5));
    const { bytes, info } = await keeper.find((got) => isUdp(got) && got.bytes.length === 1042);
    assert.deepEqual([...bytes.subarray(0, 6)], [...OUR_MAC]);
    assert.deepEqual({ ...info }, { ...PLAIN, checksum: CHECKSUM.partial, checksumStart: 34, checksumOffset: 6 });
    assert.equal(bytes.at(-1), 5);
    send(tap, ...frameOf({ to: mac, from: tap.mac, proto: "udp", payload: 700 }));
    const got = udp.receive();
    assert.equal(got?.length, 700);
    assert.deepEqual(got.subarray(0, 4), Uint8Array.of(0, 7, 14, 21));
    assert(keeper.begins > 0 && keeper.begins === keeper.ends);
    const { outPackets, inPackets, outDrops } = tap.counters();
    assert.deepEqual({ outPackets, outDrops }, { outPackets: 1, outDrops: 0 });
    assert.equal(inPackets, keeper.got.length);
  });
});

netTest("tap: super-frames of 60 KB come in whole, and go out for Linux to cut", [program("ip")], async () => {
  await withTap(async (tap, keeper) => {
    using udp = new HostUdp(9);
    const mac = await linuxMac(keeper, udp);
    udp.send(OURS, 4242, new Uint8Array(60_000).fill(6), 1400);
    const { bytes, info } = await keeper.find((got) => isUdp(got) && got.bytes.length > 2000);
    assert.equal(bytes.length, 60_042);
    const { checksum, gso, gsoBytes, headerBytes } = info;
    assert.deepEqual({ checksum, gso, gsoBytes, headerBytes }, {
      checksum: CHECKSUM.partial,
      gso: GSO.udp,
      gsoBytes: 1400,
      headerBytes: 42,
    });
    send(tap, ...frameOf({ to: mac, from: tap.mac, proto: "udp", payload: 60_000, gsoBytes: 1400 }));
    const sizes: number[] = [];
    for (let got = udp.receive(); got; got = udp.receive()) sizes.push(got.length);
    assert.equal(sizes.reduce((a, b) => a + b, 0), 60_000);
    assert.equal(sizes[0], 1400);
    assert.equal(sizes.length, Math.ceil(60_000 / 1400));
  });
});

netTest(
  "tap: without offload super-frames are cut here, and merged there as behind a NIC, unless GRO is off",
  [],
  async () => {
    const isTcp = ({ bytes }: Got) => bytes[12] === 8 && bytes[13] === 0 && bytes[23] === 6;
    for (const gro of [true, false]) {
      const tap = openTap({ name: "tap0", mac: OUR_MAC, up: true, offload: false, gro });
      const seen = openPacket({ name: "tap0" }), keeper = new Keeper();
      seen.attach(keeper);
      assert.equal(tap.gro, gro ? "on" : "off");
      send(tap, ...frameOf({ to: seen.mac, from: tap.mac, proto: "tcp", payload: 4000, gsoBytes: 1400 }));
      assert.equal(tap.counters().outPackets, 3);
      const { bytes, info } = await keeper.find((got) => isTcp(got) && (gro || got.bytes[47] === 0x18));
      const frames = keeper.got.filter(isTcp).map(({ bytes }) => bytes.length - 54);
      assert.deepEqual(frames, gro ? [4000] : [1400, 1400, 1200]);
      assert.deepEqual([info.gso, info.gsoBytes], gro ? [GSO.tcp4, 1400] : [GSO.none, 0]);
      assert.deepEqual(bytes.at(-1), (3999 * 7) & 255);
      await seen.close();
      await tap.close();
    }
  },
);

netTest(
  "tap: where the interface can not be told to merge, it works without, and says why",
  [program("setpriv")],
  async () => {
    const script = `const { openTap } = await import("${new URL("tap.ts", import.meta.url)}");
    const tap = openTap({ name: "tap0", offload: false });
    console.log(tap.gro);
    await tap.close();`;
    const said = await run("setpriv", "--bounding-set", "-sys_admin", Deno.execPath(), "eval", script);
    assert.match(said, /^off: gro_flush_timeout of tap0: .*CAP_SYS_ADMIN/);
  },
);

netTest("tap: after a sleep the first frame still comes, and closing ends what waits", [program("ip")], async () => {
  await withTap(async (tap, keeper) => {
    using udp = new HostUdp(9);
    await linuxMac(keeper, udp);
    tap.spinUs = 0;
    await new Promise((resolve) => setTimeout(resolve, 30));
    const parks = tap.counters().parks;
    assert(parks > 0, "an idle device sleeps");
    for (let port = 100; port < 110; port++) {
      udp.send(OURS, port, new Uint8Array(10));
      await keeper.find((got) => isUdp(got) && got.bytes[37] === port);
    }
  });
});

netTest("tap: a second open of one queue is refused, of a multi-queue interface it is another queue", [], async () => {
  const first = openTap({ name: "tap1" });
  assert.throws(() => openTap({ name: "tap1" }), { code: "EBUSY" });
  await first.close();
  const queues = [0, 1].map(() => openTap({ name: "tap1", multiQueue: true }));
  assert.equal(queues[0].mtu, 1500);
  for (const queue of queues) await queue.close();
  assert.throws(() => openTap({ name: "a name that is too long" }), { code: "EINVAL" });
});

netTest(
  "tap: an interface that goes is told, and ends the device; what is sent then is dropped",
  [program("ip")],
  async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const tap = openTap({
      name: "tap2",
      up: true,
      onFault: (why, isOver) => isOver && resolve((why as { code?: string }).code ?? why.message),
    });
    tap.attach(new Keeper());
    await run("ip", "link", "delete", "tap2");
    assert.equal(await promise, "ENODEV");
    send(tap, new Uint8Array(60));
    assert.equal(tap.counters().outDrops, 1);
    await tap.close();
    send(tap, new Uint8Array(60));
    assert.equal(tap.counters().outDrops, 2);
  },
);

netTest("tap: what its sink throws is told, and the next frame still comes", [program("ip")], async () => {
  const faults: string[] = [], keeper = new Keeper();
  const tap = openTap({
    name: "tap0",
    up: true,
    address: `${LINUX}/24`,
    mac: OUR_MAC,
    onFault: (why) => faults.push(why.message),
  });
  let count = 0;
  tap.attach({
    begin: () => {},
    frame(bytes, at, end, info) {
      if (++count === 1) throw new Error("a bug");
      keeper.frame(bytes, at, end, info);
    },
    end: () => {},
  });
  await run("ip", "neigh", "replace", OURS, "lladdr", "02:00:00:00:00:02", "dev", "tap0", "nud", "permanent");
  using udp = new HostUdp(9);
  for (let i = 0; i < 3; i++) udp.send(OURS, 1, new Uint8Array(1));
  await keeper.find(isUdp);
  assert.deepEqual(faults, ["a bug"]);
  await tap.close();
});
