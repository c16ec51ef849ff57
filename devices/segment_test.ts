import assert from "node:assert/strict";
import { checksum, checksumOk } from "../core/checksum.ts";
import { CHECKSUM, GSO, PLAIN } from "../core/link.ts";
import { pseudoSum6 } from "../net/checksum.ts";
import { checksumsOk, frameOf } from "./frames_fixture.ts";
import { completeChecksum, segment, segmentInPlace } from "./segment.ts";

const A = Uint8Array.of(2, 0, 0, 0, 0, 1), B = Uint8Array.of(2, 0, 0, 0, 0, 2);

const CUTS = [["tcp", segment], ["udp", segment], ["tcp", segmentInPlace], ["udp", segmentInPlace]] as const;

for (const [proto, cut] of CUTS) {
  Deno.test(`${cut.name}: a ${proto} super-frame is cut into segments with right headers and checksums`, () => {
    const [frame, info] = frameOf({ to: B, from: A, proto, payload: 5001, gsoBytes: 1400 });
    const parts: Uint8Array[] = [];
    cut(frame.slice(), 0, frame.length, info, {
      medium: "ether",
      emit(bytes, at, end, about) {
        const part = bytes.slice(at, end);
        completeChecksum(part, 0, part.length, about);
        parts.push(part);
      },
    });
    assert.equal(parts.length, 4);
    const l4 = proto === "tcp" ? 54 : 42, view = (part: Uint8Array) => new DataView(part.buffer);
    assert(parts.every(checksumsOk));
    assert.deepEqual(parts.map((part) => part.length - l4), [1400, 1400, 1400, 801]);
    assert.deepEqual(parts.map((part) => view(part).getUint16(18)), [1, 2, 3, 4], "identification");
    assert.deepEqual(parts.flatMap((part) => [...part.subarray(l4)]), [...frame.subarray(l4)]);
    if (proto === "udp") return;
    assert.deepEqual(parts.map((part) => view(part).getUint32(38) - 1_000_000), [0, 1400, 2800, 4200]);
    assert.deepEqual(parts.map((part) => part[47]), [0x10, 0x10, 0x10, 0x18], "PSH on the last alone");
  });
}

Deno.test("segment: the frame stays as it is; in place, segments smaller than their headers are right too", () => {
  const [frame, info] = frameOf({ to: B, from: A, proto: "tcp", payload: 100, gsoBytes: 7 }), before = frame.slice();
  segment(frame, 0, frame.length, info, { medium: "ether", emit: (bytes) => void bytes.fill(0) });
  assert.deepEqual(frame, before);
  const payload: number[] = [];
  frame[20] = 0x40; // not to be cut in fragments: the identification stays
  completeIpv4(frame);
  segmentInPlace(frame, 0, frame.length, info, {
    medium: "ether",
    emit(bytes, at, end, about) {
      completeChecksum(bytes, at, end, about);
      assert(checksumsOk(bytes.slice(at, end)));
      assert.deepEqual([bytes[at + 18], bytes[at + 19]], [0, 1]);
      payload.push(...bytes.subarray(at + 54, end));
    },
  });
  assert.deepEqual(payload, [...before.subarray(54)]);
});

/** Sets the checksum of the IPv4 header of an Ethernet frame. */
function completeIpv4(frame: Uint8Array): void {
  frame[24] = frame[25] = 0;
  const check = checksum(frame, 14, 34);
  frame.set([check >> 8, check & 255], 24);
}

Deno.test("segmentInPlace: IPv6 has the length of each segment, and its checksum", () => {
  const head = 14 + 40 + 20, frame = new Uint8Array(head + 3000), view = new DataView(frame.buffer);
  frame.set([...B, ...A, 0x86, 0xdd, 0x60]);
  view.setUint16(18, 20 + 3000);
  frame.set([6, 64, 0xfd, 0x99], 20);
  frame.set([0xfd, 0x99], 38);
  frame[37] = 2;
  frame[53] = 1;
  frame.set([0x50, 0x19], 54 + 12); // PSH and FIN, which the last segment has alone
  view.setUint16(54 + 16, pseudoSum6(frame, 22, 6, 20 + 3000));
  for (let i = head; i < frame.length; i++) frame[i] = i * 7;
  const info = { ...PLAIN, checksum: CHECKSUM.partial, checksumStart: 54, checksumOffset: 16 };
  const whole = { ...info, gso: GSO.tcp6, gsoBytes: 1400, headerBytes: head },
    payload: number[] = [],
    flags: number[] = [];
  const sent = frame.slice();
  segmentInPlace(sent, 0, sent.length, whole, {
    medium: "ether",
    emit(bytes, at, end, about) {
      completeChecksum(bytes, at, end, about);
      const length = bytes[at + 18] << 8 | bytes[at + 19];
      assert.equal(length, end - at - 54);
      assert(checksumOk(bytes, at + 54, end, pseudoSum6(bytes, at + 22, 6, length)));
      flags.push(bytes[at + 54 + 13]);
      payload.push(...bytes.subarray(at + head, end));
    },
  });
  assert.deepEqual(flags, [0x10, 0x10, 0x19]);
  assert.deepEqual(payload, [...frame.subarray(head)]);
});

Deno.test("segment: headers that do not fit the info leave the frame as it is", () => {
  const [frame, info] = frameOf({ to: B, from: A, proto: "tcp", payload: 3000, gsoBytes: 1000 });
  for (
    const wrong of [{ checksumStart: 60_000 }, { gsoBytes: 0 }, { checksum: CHECKSUM.present }, { checksumStart: 3 }]
  ) {
    let count = 0;
    segment(frame, 0, frame.length, { ...info, ...wrong }, { medium: "ether", emit: () => count++ });
    assert.equal(count, 1);
  }
});
