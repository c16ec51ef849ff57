import assert from "node:assert/strict";
import { netTest, run } from "../tests/netns.ts";
import { program } from "../tests/skip.ts";
import { CHECKSUM, GSO } from "../core/link.ts";
import { checksumsOk, frameOf, type Got, Keeper, send } from "./frames_fixture.ts";
import { hostInterface } from "./net_calls.ts";
import { openPacket, type Packet } from "./packet.ts";

const of = (proto: number) => ({ bytes }: Got) => bytes[12] === 8 && bytes[13] === 0 && bytes[23] === proto;

/** Two packet sockets, one at each end of a veth pair. */
async function withVeth(fn: (a: Packet, b: Packet, atB: Keeper) => Promise<void>, offload = true): Promise<void> {
  await run("ip", "link", "add", "va", "type", "veth", "peer", "name", "vb");
  for (const name of ["va", "vb"]) await run("ip", "link", "set", name, "up");
  const a = openPacket({ name: "va", offload }), b = openPacket({ name: "vb" }), atB = new Keeper();
  try {
    b.attach(atB);
    await fn(a, b, atB);
  } finally {
    await a.close();
    await b.close();
  }
}

netTest("packet: frames cross a veth pair, the sender does not hear itself", [program("ip")], async () => {
  await withVeth(async (a, b, atB) => {
    const atA = new Keeper();
    a.attach(atA);
    assert.deepEqual(a.mac, hostInterface("va").mac);
    for (let payload = 1; payload <= 1000; payload += 37) {
      send(a, ...frameOf({ to: b.mac, from: a.mac, proto: "udp", payload }));
      const { bytes, info } = await atB.find((got) => of(17)(got) && got.bytes.length === 42 + payload);
      assert.equal(bytes.at(-1), (payload - 1) * 7 & 255);
      assert.equal(info.checksum, CHECKSUM.partial, "nobody has summed it up: it never was on a wire");
    }
    assert(!atA.got.some(of(17)));
  });
});

netTest(
  "packet: a TCP super-frame of 60 KB goes out and comes in whole, its info with it",
  [program("ip")],
  async () => {
    await withVeth(async (a, b, atB) => {
      const [frame, info] = frameOf({ to: b.mac, from: a.mac, proto: "tcp", payload: 60_000, gsoBytes: 1448 });
      send(a, frame, info);
      const got = await atB.find(of(6));
      assert.equal(got.bytes.length, frame.length);
      assert.deepEqual(got.bytes.subarray(54), frame.subarray(54));
      assert.equal(got.info.gso, GSO.tcp4);
      assert.equal(got.info.gsoBytes, 1448);
      assert.equal(got.info.checksumStart, 34);
    });
  },
);

netTest(
  "packet: without offload a super-frame is cut, and summed up, before it goes out",
  [program("ip")],
  async () => {
    await withVeth(async (a, b, atB) => {
      const [frame, info] = frameOf({ to: b.mac, from: a.mac, proto: "tcp", payload: 4000, gsoBytes: 1400 });
      send(a, frame, info);
      await atB.find((got) => of(6)(got) && got.bytes.length === 54 + 1200);
      const frames = atB.got.filter(of(6)).map(({ bytes }) => bytes);
      assert.deepEqual(frames.map(({ length }) => length - 54), [1400, 1400, 1200]);
      assert(frames.every(checksumsOk));
      assert.deepEqual(frames.flatMap((bytes) => [...bytes.subarray(54)]), [...frame.subarray(54)]);
    }, false);
  },
);

netTest(
  "packet: more frames than slots are dropped and counted, and it goes on after that",
  [program("ip")],
  async () => {
    await withVeth(async (a, b, atB) => {
      const [frame, info] = frameOf({ to: b.mac, from: a.mac, proto: "udp", payload: 10 });
      for (let i = 0; i < 1000; i++) send(a, frame, info);
      await new Promise((resolve) => setTimeout(resolve, 20));
      const { inPackets, inDrops } = b.counters();
      assert(inDrops > 0, `${inDrops} dropped`);
      assert(inPackets >= 200 && inPackets < 1000, `${inPackets} received`);
      send(a, ...frameOf({ to: b.mac, from: a.mac, proto: "udp", payload: 99 }));
      await atB.find(({ bytes }) => bytes.length === 141);
    });
  },
);

netTest("packet: an interface that goes down and comes back goes on", [program("ip")], async () => {
  await withVeth(async (a, b, atB) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    for (const state of ["down", "up"]) await run("ip", "link", "set", "vb", state);
    send(a, ...frameOf({ to: b.mac, from: a.mac, proto: "udp", payload: 77 }));
    await atB.find(({ bytes }) => bytes.length === 119);
  });
});

netTest("packet: an interface that is not there is ENODEV", [], async () => {
  assert.throws(() => openPacket({ name: "none0" }), { code: "ENODEV" });
  await Promise.resolve();
});
