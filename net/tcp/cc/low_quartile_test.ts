import assert from "node:assert/strict";
import { LowQuartile } from "./low_quartile.ts";
import { Random } from "../../wire/wire_fixture.ts";

Deno.test("a window's lower quartile is that of its samples sorted, in whatever order they come", () => {
  const random = new Random(3), quartile = new LowQuartile();
  for (let window = 0; window < 200; window++) {
    const samples = Array.from({ length: 64 }, () => random.below(100));
    const answers = samples.map((sample) => quartile.add(sample));
    assert.ok(answers.slice(0, -1).every((answer) => answer === -1));
    assert.equal(answers.at(-1), samples.toSorted((a, b) => a - b)[15]);
  }
});

Deno.test("a sample in eight that is far too small changes nothing", () => {
  const quartile = new LowQuartile();
  let answer = -1;
  for (let i = 0; i < 64; i++) answer = quartile.add(i % 8 === 0 ? 0.1 : 10 + i / 100);
  assert.ok(answer >= 10);
});

Deno.test("a part of a window has a quartile once there are four samples; a restart forgets them", () => {
  const quartile = new LowQuartile();
  for (const sample of [7, 9, 8]) quartile.add(sample);
  assert.equal(quartile.value, -1);
  quartile.add(5);
  assert.equal(quartile.value, 5);
  for (const sample of [6, 9, 9, 9]) quartile.add(sample);
  assert.equal(quartile.value, 6);
  quartile.restart();
  assert.equal(quartile.value, -1);
});
