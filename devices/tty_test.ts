import assert from "node:assert/strict";
import { HostTerminal } from "./tty.ts";

/** Input that gives these pieces (null: an end), then waits. */
class Input {
  readonly raw: boolean[] = [];

  constructor(readonly pieces: (string | null | Error)[], readonly terminal: boolean) {}

  read(into: Uint8Array): Promise<number | null> {
    const piece = this.pieces.shift();
    if (piece === undefined) return new Promise(() => {});
    if (piece instanceof Error) return Promise.reject(piece);
    return Promise.resolve(piece === null ? null : new TextEncoder().encodeInto(piece, into).written);
  }

  isTerminal(): boolean {
    return this.terminal;
  }

  setRaw(raw: boolean): void {
    this.raw.push(raw);
  }
}

/** What a listener is called with, until null or `count` calls. */
function heard(terminal: HostTerminal, count: number): Promise<(string | null)[]> {
  const got: (string | null)[] = [];
  return new Promise((resolve) =>
    terminal.onInput((bytes) => {
      got.push(bytes && new TextDecoder().decode(bytes));
      if (bytes === null || got.length === count) resolve(got);
    })
  );
}

Deno.test("a terminal goes on after a typed end of file, and is gone after many in a row or a failure", async () => {
  assert.deepEqual(await heard(new HostTerminal(new Input(["a\n", null, "b\n"], true)), 3), ["a\n", "", "b\n"]);
  const hungUp = await heard(new HostTerminal(new Input(Array.from({ length: 20 }, () => null), true)), 100);
  assert.equal(hungUp.at(-1), null);
  assert.deepEqual(await heard(new HostTerminal(new Input(["a", new Error("EIO")], true)), 9), ["a", null]);
});

Deno.test("a pipe ends once", async () => {
  assert.deepEqual(await heard(new HostTerminal(new Input(["a\n", null], false)), 9), ["a\n", null]);
});

Deno.test("a later listener takes over", async () => {
  const input = new Input([], true), terminal = new HostTerminal(input);
  const { promise, resolve } = Promise.withResolvers<number | null>();
  input.read = (into) => (input.read = () => new Promise(() => {}), into[0] = 0x61, promise);
  terminal.onInput(() => assert.fail("the first listener was called"));
  const later = heard(terminal, 1);
  resolve(1);
  assert.deepEqual(await later, ["a"]);
});

Deno.test("raw mode is set on a terminal, once, and never on a pipe", () => {
  for (const isTerminal of [true, false]) {
    const input = new Input([], isTerminal), terminal = new HostTerminal(input);
    for (const raw of [true, true, false]) terminal.setRaw(raw);
    assert.deepEqual(input.raw, isTerminal ? [true, false] : []);
  }
});

Deno.test("all of a write is shown, also when the host takes it in pieces", async () => {
  let shown = "";
  const output = {
    write: (bytes: Uint8Array) => {
      shown += new TextDecoder().decode(bytes.subarray(0, 3));
      return Promise.resolve(Math.min(3, bytes.length));
    },
  };
  await new HostTerminal(new Input([], true), output).write(new TextEncoder().encode("eleven char"));
  assert.equal(shown, "eleven char");
});
