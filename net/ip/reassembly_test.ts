import assert from "node:assert/strict";
import { Random } from "../wire/wire_fixture.ts";
import { LIMITS } from "./limits.ts";
import { type Fragment, type NotWhole, Reassembly, type Whole } from "./reassembly.ts";

const HEAD = 20;

/** A fragment of a packet whose byte at offset i is i * 3. */
function piece(from: number, to: number, more: boolean, other: Partial<Fragment> = {}): Fragment {
  const bytes = new Uint8Array(HEAD + to - from);
  for (let i = from; i < to; i++) bytes[HEAD + i - from] = i * 3;
  const range = { bytes, at: HEAD, end: bytes.length, headAt: 0, headEnd: HEAD };
  return { key: "k", peer: "p", offset: from, more, ecn: 0, ...range, ...other };
}

const add = (it: Reassembly, fragment: Fragment) => it.add(fragment, 1, 1000);

function dataOf(answer: Whole | NotWhole): Uint8Array {
  assert.ok(typeof answer !== "string", String(answer));
  return answer.bytes.subarray(answer.headBytes);
}

Deno.test("pieces in any order make the packet that was cut, and nothing is kept", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = new Random(seed), it = new Reassembly(), total = 1 + random.below(5000);
    const cuts = [0];
    while (cuts[cuts.length - 1] < total) {
      cuts.push(Math.min(total, cuts[cuts.length - 1] + 8 * (1 + random.below(90))));
    }
    const pieces = cuts.slice(1).map((to, i) => piece(cuts[i], to, to < total));
    for (let i = pieces.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [pieces[i], pieces[j]] = [pieces[j], pieces[i]];
    }
    const twice = pieces.length > 1 ? [pieces[0], ...pieces] : pieces;
    const answers = twice.map((fragment) => add(it, fragment));
    const last = answers.pop()!;
    assert.ok(answers.every((answer) => answer === "waiting"), `seed ${seed}`);
    assert.deepEqual(dataOf(last), Uint8Array.from({ length: total }, (_, i) => i * 3), `seed ${seed}`);
    assert.deepEqual([it.bytes, it.count], [0, 0], `seed ${seed}`);
  }
});

Deno.test("a packet with pieces that overlap is dropped whole, with those that come later", () => {
  const overlaps: Fragment[][] = [
    [piece(0, 16, true), piece(8, 24, true)],
    [piece(8, 24, true), piece(0, 16, true)],
    [piece(0, 32, true), piece(8, 16, true)],
    [piece(8, 16, true), piece(0, 32, true)],
    [piece(0, 16, true), piece(0, 24, true)],
    [piece(16, 24, false), piece(24, 32, true)],
    [piece(16, 24, false), piece(16, 32, false)],
    [piece(24, 32, true), piece(8, 16, false)],
  ];
  for (const [i, [first, second]] of overlaps.entries()) {
    const it = new Reassembly();
    assert.equal(add(it, first), "waiting", `case ${i}`);
    assert.equal(add(it, second), "overlap", `case ${i}`);
    assert.equal(add(it, piece(0, 8, true)), "overlap", `case ${i}`);
    assert.ok(it.bytes <= LIMITS.fragmentOverhead, `case ${i}`);
    assert.deepEqual(it.poll(1000), [], "nobody is told");
    assert.equal(it.count, 0);
  }
});

Deno.test("the same piece with other bytes is an overlap too", () => {
  const it = new Reassembly(), other = piece(0, 16, true);
  other.bytes[HEAD] = 99;
  add(it, piece(0, 16, true));
  assert.equal(add(it, other), "overlap");
});

Deno.test("pieces that can not be any are refused", () => {
  const it = new Reassembly();
  assert.equal(add(it, piece(0, 9, true)), "bad");
  assert.equal(add(it, piece(65528, 65544, false)), "bad");
  assert.equal(add(it, piece(8, 8, true)), "bad");
  assert.equal(it.count, 0);
});

Deno.test("bytes and packets are bounded, of one sender and of all; the oldest go", () => {
  const it = new Reassembly();
  for (let i = 0; i < 2000; i++) add(it, piece(0, 1400, true, { key: `one${i}`, peer: "one" }));
  assert.ok(it.bytes <= LIMITS.reassemblyPeerBytes);
  const evicted = it.evicted;
  assert.ok(evicted > 1000);
  for (let i = 0; i < 300; i++) add(it, piece(0, 60_000, true, { key: `many${i}`, peer: `peer${i}` }));
  assert.ok(it.bytes <= LIMITS.reassemblyBytes && it.count <= LIMITS.reassemblies);
  for (let i = 0; i < 400; i++) add(it, piece(i * 16, i * 16 + 8, true, { key: "tiny", peer: "tiny" }));
  assert.ok(it.bytes <= LIMITS.reassemblyBytes);
  it.poll(1000);
  assert.deepEqual([it.bytes, it.count], [0, 0]);
});

Deno.test("what never gets whole is given up when its time is over, with its first piece", () => {
  const it = new Reassembly();
  add(it, piece(0, 8, true, { key: "a" }));
  add(it, piece(8, 16, true, { key: "b" }));
  assert.equal(it.nextAt, 1000);
  assert.deepEqual(it.poll(999), []);
  const expired = it.poll(1000);
  assert.deepEqual(expired.map(({ head, data }) => [head?.length, data?.length]), [[HEAD, 8], [undefined, undefined]]);
});

Deno.test("congestion that one piece met is the packet's; mixed with no ECN it is nobody's", () => {
  for (const [first, second, ecn] of [[2, 3, 3], [2, 2, 2], [0, 0, 0], [1, 3, 3]]) {
    const it = new Reassembly();
    add(it, piece(0, 8, true, { ecn: first }));
    const whole = add(it, piece(8, 16, false, { ecn: second }));
    assert.ok(typeof whole !== "string");
    assert.equal(whole.ecn, ecn);
  }
  const it = new Reassembly();
  add(it, piece(0, 8, true, { ecn: 0 }));
  assert.equal(add(it, piece(8, 16, false, { ecn: 3 })), "bad");
});

Deno.test("what waits is saved, and gets whole after it was restored", () => {
  const it = new Reassembly(), other = new Reassembly();
  add(it, piece(0, 8, true));
  other.restore(structuredClone(it.save()));
  assert.equal(other.bytes, it.bytes);
  assert.equal(dataOf(add(other, piece(8, 16, false))).length, 16);
});
