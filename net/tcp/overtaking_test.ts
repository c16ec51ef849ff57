import assert from "node:assert/strict";
import type { Conn } from "./conn.ts";
import { tsNow } from "./emit.ts";
import { Script } from "./script_fixture.ts";

/** A peer that is 10 ms away, by a path where segments overtake each other or are lost. */
class Path {
  readonly script = new Script({ ts: true });
  readonly conn: Conn = this.script.establish();
  at = 1;
  #stamp = 1000;

  constructor() {
    this.conn.rcv.quickAcks = 0;
    for (let i = 0; i < 20; i++) this.send();
    this.script.taken();
  }

  /** A segment of the peer, which has what we said 10 ms ago. */
  #line(seq: number, count: number, echo: number): string {
    return `. ${seq}:${seq + count}(${count}) ack 1 ts ${this.#stamp++} ${echo}`;
  }

  send(): void {
    this.script.send(this.#line(this.at, 1000, this.echo));
    this.at += 1000;
  }

  /** What the peer says that it has heard from us. */
  get echo(): number {
    return tsNow(this.conn) - 10;
  }

  /** The second of two segments, and no more. */
  sendBehind(): void {
    this.script.send(this.#line(this.at + 1000, 1000, this.echo));
  }

  /** The second of two segments comes `lateMs` before the first. */
  overtake(lateMs: number): void {
    const { echo } = this;
    this.sendBehind();
    this.script.wait(lateMs);
    this.script.send(this.#line(this.at, 1000, echo));
    this.at += 2000;
  }

  /** Some of these, so that the next is expected. */
  overtaken(lateMs: number): void {
    for (let i = 0; i < 6; i++) this.overtake(lateMs);
    this.script.taken();
  }

  /** The first of two segments is lost, and sent again when we have told of the second. */
  lose(): void {
    this.sendBehind();
    const echo = tsNow(this.conn);
    this.script.wait(10);
    this.script.send(this.#line(this.at, 1000, echo));
    this.at += 2000;
  }
}

Deno.test("a gap is told of at once, until some have filled by themselves: then it may fill, and nobody hears of it", () => {
  const path = new Path(), { script } = path;
  path.overtake(4);
  const [told] = script.taken();
  assert.match(told, /ack 20001 .* sack 21001-22001$/);
  path.overtaken(4);
  const { at } = path;
  path.overtake(4);
  script.expect(`. 1:1(0) ack ${at + 2000}`);
});

Deno.test("a gap that is older than those that filled is told of, by a timer if need be", () => {
  const path = new Path(), { script } = path;
  path.overtaken(4);
  const { at } = path;
  path.sendBehind();
  script.wait(4);
  script.expect();
  script.wait(2);
  const [told, ...more] = script.taken();
  assert.match(told, new RegExp(`ack ${at} .* sack ${at + 1000}-${at + 2000}$`));
  assert.deepEqual(more, []);
  script.wait(100);
  script.expect();
});

Deno.test("while a gap is not told of, data before it is acknowledged as ever, and duplicates are told of at once", () => {
  const path = new Path(), { script } = path;
  path.overtaken(4);
  const { at } = path, line = (seq: number) => `. ${seq}:${seq + 1000}(1000) ack 1 ts 5000 ${path.echo}`;
  script.send(line(at + 2000));
  script.expect();
  script.send(line(at), line(at + 2000));
  const [told] = script.taken();
  assert.match(told, new RegExp(`ack ${at + 1000} .* sack ${at + 2000}-${at + 3000}$`));
});

Deno.test("where more is lost than is late, gaps are told of at once again", () => {
  const path = new Path(), { script } = path;
  path.overtaken(4);
  for (let i = 0; i < 8; i++) path.lose();
  script.taken();
  path.sendBehind();
  assert.match(script.taken()[0], / sack /);
});
