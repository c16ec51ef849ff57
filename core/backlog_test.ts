import assert from "node:assert/strict";
import { Backlog } from "./backlog.ts";
import type { Doorbell } from "./ring/doorbell.ts";
import type { Producer } from "./ring/spsc.ts";

/** A ring that has room when the test says so. */
class Ring {
  gone = false;
  room = 0;
  readonly sent: string[] = [];
  readonly backlog: Backlog;
  #wake = () => {};

  constructor() {
    const out = this as { gone: boolean } as unknown as Producer;
    this.backlog = new Backlog(
      out,
      { wait: () => new Promise<void>((wake) => this.#wake = wake) } as unknown as Doorbell,
    );
  }

  publish(): void {}

  add(...messages: string[]): void {
    for (const message of messages) {
      this.backlog.add(() => this.room > 0 && this.room-- > 0 && this.sent.push(message) > 0);
    }
  }

  async frees(count: number): Promise<void> {
    this.room += count;
    this.#wake();
    for (let turns = 0; turns < 10; turns++) await null;
  }
}

Deno.test("what waits for room goes in its order, as much as there is room for", async () => {
  const ring = new Ring();
  ring.add("a", "b", "c");
  await ring.frees(2);
  assert.deepEqual(ring.sent, ["a", "b"]);
  assert.equal(ring.backlog.empty, false);
  ring.add("d");
  await ring.frees(5);
  assert.deepEqual(ring.sent, ["a", "b", "c", "d"]);
  assert.equal(ring.backlog.empty, true);
});

Deno.test("what waits is dropped when the other side has gone", async () => {
  const ring = new Ring();
  ring.add("a", "b");
  ring.gone = true;
  await ring.frees(2);
  assert.deepEqual(ring.sent, []);
});
