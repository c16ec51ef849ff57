import assert from "node:assert/strict";
import { emitEthernet, Ethernet, ETHERTYPE } from "./ethernet.ts";
import { abuse, hex, refusesCuts } from "./wire_fixture.ts";

const plain = hex("ffffffffffff 001122334455 0806 0001020304");
const tagged = hex("3333ff000001 020304050607 8100 6064 86dd 60000000");

Deno.test("a frame's fields, without and with a tag", () => {
  const frame = new Ethernet();
  assert.equal(frame.parse(plain), undefined);
  assert.deepEqual([frame.type, frame.tci, frame.vlan, frame.payloadAt, frame.payloadBytes], [0x0806, -1, 0, 14, 5]);
  assert.ok(frame.isMulticast && frame.isFor(hex("ffffffffffff")) && !frame.isFor(hex("fffffffffffe")));
  const src = new Uint8Array(6);
  frame.writeSrc(src);
  assert.deepEqual(src, hex("001122334455"));
  assert.equal(frame.parse(tagged), undefined);
  assert.deepEqual([frame.type, frame.tci, frame.vlan, frame.payloadAt], [ETHERTYPE.ipv6, 0x6064, 100, 18]);
  assert.deepEqual(frame.src, hex("020304050607"));
});

Deno.test("emitEthernet() writes what was parsed", () => {
  for (const data of [plain, tagged]) {
    const frame = new Ethernet(), out = data.slice().fill(0xaa);
    frame.parse(data);
    const payloadAt = emitEthernet(out, 0, frame);
    assert.equal(payloadAt, frame.payloadAt);
    assert.deepEqual(out.subarray(0, payloadAt), data.subarray(0, payloadAt));
  }
});

Deno.test("setters write in place", () => {
  const data = tagged.slice(), frame = new Ethernet();
  frame.parse(data);
  frame.dst = hex("0a0b0c0d0e0f");
  frame.src = hex("010203040506");
  frame.type = 0x0800;
  assert.deepEqual(data.subarray(0, 18), hex("0a0b0c0d0e0f 010203040506 8100 6064 0800"));
});

Deno.test("a frame is 14 bytes at the least, 18 with a tag", () => {
  refusesCuts(new Ethernet(), plain, 14);
  refusesCuts(new Ethernet(), tagged, 18);
  assert.equal(new Ethernet().parse(plain.subarray(0, 13)), "short");
});

Deno.test("no bytes make the view throw or read outside of the frame", () => {
  abuse(new Ethernet(), [plain, tagged], (frame) => {
    frame.isFor(hex("ffffffffffff"));
    frame.writeSrc(new Uint8Array(6));
  });
});
