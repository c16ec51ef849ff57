import assert from "node:assert/strict";
import { formatIpv4 } from "../addr.ts";
import { Arp, ARP_REPLY, ARP_REQUEST, emitArp } from "./arp.ts";
import { abuse, hex, refusesCuts } from "./wire_fixture.ts";

const request = hex("0001 0800 06 04 0001 001122334455 c0a80001 000000000000 c0a800c7");
const reply = hex("0001 0800 06 04 0002 0a0b0c0d0e0f c0a800c7 001122334455 c0a80001");
const probe = hex("0001 0800 06 04 0001 001122334455 00000000 000000000000 c0a80005");
const announcement = hex("0001 0800 06 04 0001 001122334455 c0a80005 000000000000 c0a80005");

Deno.test("a request and its reply, field by field", () => {
  const arp = new Arp();
  assert.equal(arp.parse(request), undefined);
  assert.equal(arp.op, ARP_REQUEST);
  assert.equal(formatIpv4(arp.sender), "192.168.0.1");
  assert.equal(formatIpv4(arp.target), "192.168.0.199");
  assert.deepEqual(arp.senderMac, hex("001122334455"));
  assert.equal(arp.parse(reply), undefined);
  assert.equal(arp.op, ARP_REPLY);
  assert.deepEqual(arp.targetMac, hex("001122334455"));
});

Deno.test("probes and announcements are told from questions", () => {
  const kinds = [request, reply, probe, announcement].map((data) => {
    const arp = new Arp();
    assert.equal(arp.parse(data), undefined);
    return [arp.isProbe, arp.isAnnouncement];
  });
  assert.deepEqual(kinds, [[false, false], [false, false], [true, false], [false, true]]);
});

Deno.test("emitArp() writes what was parsed, and the frame's padding is left out", () => {
  const arp = new Arp(), out = new Uint8Array(28);
  assert.equal(
    arp.parse(
      hex("ff".repeat(3) + Array.from(reply, (b) => b.toString(16).padStart(2, "0")).join("") + "00".repeat(18)),
      3,
    ),
    undefined,
  );
  assert.deepEqual([arp.at, arp.end, arp.payloadBytes], [3, 31, 0]);
  assert.equal(emitArp(out, 0, arp), 28);
  assert.deepEqual(out, reply);
});

Deno.test("other families, lengths and operations are refused with their reason", () => {
  const refused = (at: number, byte: number) => {
    const data = request.slice();
    data[at] = byte;
    return new Arp().parse(data);
  };
  assert.deepEqual([refused(1, 6), refused(2, 0x86), refused(4, 8), refused(5, 16), refused(7, 0), refused(7, 8)], [
    "version",
    "version",
    "length",
    "length",
    "field",
    "field",
  ]);
});

Deno.test("no bytes make the view throw or read outside of the message", () => {
  refusesCuts(new Arp(), request);
  abuse(new Arp(), [request, reply, probe, announcement]);
});
