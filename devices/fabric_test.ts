import assert from "node:assert/strict";
import { ManualClock } from "../tests/manual_clock.ts";
import { CHECKSUM, type FrameInfo, type FrameSink, GSO, PLAIN, type Port } from "../core/link.ts";
import { Cable, Loopback, Switch } from "./fabric.ts";
import { FrameQueue } from "./frame_queue.ts";

/** What a port got, as text; `answer` is called with each frame. */
class Log implements FrameSink {
  readonly lines: string[] = [];
  answer: (bytes: Uint8Array, info: FrameInfo) => void = () => {};
  begin() {
    this.lines.push("begin");
  }
  frame(bytes: Uint8Array, at: number, end: number, info: FrameInfo) {
    this.lines.push(new TextDecoder().decode(bytes.subarray(at + 14, end)) + (info.gso ? ` gso ${info.gsoBytes}` : ""));
    this.answer(bytes.slice(at, end), info);
  }
  end() {
    this.lines.push("end");
  }
}

/** Runs what is scheduled when told, so that a test sees each step. */
function stepper() {
  const due: (() => void)[] = [];
  return { schedule: (fn: () => void) => void due.push(fn), step: () => due.splice(0).forEach((fn) => fn()), due };
}

const mac = (n: number) => Uint8Array.of(2, 0, 0, 0, 0, n);

function send(port: Port, to: Uint8Array, from: Uint8Array, text: string, info: FrameInfo = PLAIN): boolean {
  const frame = Uint8Array.of(...to, ...from, 8, 0, ...new TextEncoder().encode(text));
  if (!port.begin(frame.length)) return false;
  port.frame.set(frame, port.frameAt);
  port.end(frame.length, info);
  port.flush();
  return true;
}

Deno.test("frame queue: frames of all sizes come out as they went in, through many laps", () => {
  const queue = new FrameQueue(4096), expected: { bytes: number[]; gsoBytes: number }[] = [];
  let seed = 7, laps = 0;
  const random = (n: number) => (seed = Math.imul(seed, 1103515245) + 12345 >>> 0) % n;
  for (let i = 0; i < 20_000; i++) {
    if (random(5) < 3) {
      const bytes = Uint8Array.from({ length: random(900) }, () => random(256));
      const gsoBytes = random(65536);
      if (queue.put(bytes, 0, bytes.length, { ...PLAIN, gso: GSO.tcp4, gsoBytes })) {
        expected.push({ bytes: [...bytes], gsoBytes });
      } else assert(queue.length > 0, "an empty queue has room");
    } else if (queue.peek()) {
      const want = expected.shift()!;
      assert.deepEqual([...queue.bytes.subarray(queue.at, queue.end)], want.bytes);
      assert.equal(queue.info.gsoBytes, want.gsoBytes);
      queue.drop();
      laps++;
    }
  }
  assert(laps > 5000);
  assert.equal(queue.length, expected.length);
});

Deno.test("cable: frames arrive at the other end, later, in one batch, with what is known of them", () => {
  const { schedule, step } = stepper();
  const { ends: [a, b] } = new Cable({ name: "a", mac: mac(1) }, { name: "b" }, { schedule });
  const log = new Log();
  b.attach(log);
  log.answer = () => assert(send(b, a.mac, b.mac, "answer"), "a sink may send");
  send(a, b.mac, a.mac, "one");
  send(a, b.mac, a.mac, "two", { ...PLAIN, checksum: CHECKSUM.partial, gso: GSO.tcp4, gsoBytes: 1448 });
  assert.deepEqual(log.lines, [], "nothing is delivered inside of a send");
  step();
  assert.deepEqual(log.lines, ["begin", "one", "two gso 1448", "end"]);
  step();
  assert.equal(a.counters().inDrops, 2, "nobody is attached there");
  assert.equal(b.mac.length, 6);
});

Deno.test("cable: a full queue refuses, and tells when there is room", () => {
  const { schedule, step } = stepper();
  const { ends: [a, b] } = new Cable({ name: "a" }, { name: "b" }, { schedule, queueBytes: 1 });
  b.attach(new Log());
  let sent = 0, told = 0;
  a.onRoom = () => told++;
  while (send(a, b.mac, a.mac, "x".repeat(60_000))) sent++;
  assert(sent >= 2, `${sent} frames`);
  assert.equal(told, 0);
  step();
  assert.equal(told, 1);
  assert(send(a, b.mac, a.mac, "more"));
});

Deno.test("loopback: a frame without Ethernet header comes back; answering it does not nest", () => {
  const { schedule, step, due } = stepper();
  const { port } = new Loopback("lo", { schedule });
  let depth = 0, got = 0;
  port.attach({
    begin() {},
    frame() {
      assert.equal(++depth, 1);
      if (++got < 5) send(port, mac(0), mac(0), "again");
      depth--;
    },
    end() {},
  });
  send(port, mac(0), mac(0), "first");
  while (due.length > 0) step();
  assert.equal(got, 5);
  assert.equal(port.medium, "ip");
});

Deno.test("switch: floods what it does not know, learns from the source, forgets what is silent or gone", () => {
  const clock = new ManualClock(), { schedule, step } = stepper();
  const net = new Switch(clock, { schedule, ageMs: 1000, maxStations: 3 });
  const ports = [1, 2, 3].map((n) => net.port({ name: `p${n}`, mac: mac(n) }));
  const logs = ports.map((port) => {
    const log = new Log();
    port.attach(log);
    return log;
  });
  const seen = (text: string) => {
    step();
    return logs.map((log) => log.lines.splice(0).filter((line) => line === text).length);
  };
  send(ports[0], mac(2), mac(1), "hello");
  assert.deepEqual(seen("hello"), [0, 1, 1], "nobody knows 2 yet");
  send(ports[1], mac(1), mac(2), "reply");
  assert.deepEqual(seen("reply"), [1, 0, 0], "1 was learnt");
  send(ports[0], mac(2), mac(1), "again");
  assert.deepEqual(seen("again"), [0, 1, 0]);
  send(ports[0], Uint8Array.of(255, 255, 255, 255, 255, 255), mac(1), "all");
  assert.deepEqual(seen("all"), [0, 1, 1]);
  send(ports[2], mac(1), mac(2), "moved");
  assert.deepEqual(seen("moved"), [1, 0, 0]);
  send(ports[0], mac(2), mac(1), "to the new place");
  assert.deepEqual(seen("to the new place"), [0, 0, 1]);
  clock.advance(1001);
  send(ports[0], mac(2), mac(1), "aged");
  assert.deepEqual(seen("aged"), [0, 1, 1]);
  for (let n = 10; n < 20; n++) send(ports[0], mac(9), mac(n), "flood of sources");
  step();
  assert(net.stations <= 3);
  ports[2].close();
  send(ports[0], mac(77), mac(1), "after close");
  assert.deepEqual(seen("after close"), [0, 1, 0]);
});

Deno.test("cable: what a sink throws reaches who schedules, loses that frame alone, and the rest still comes", () => {
  const { schedule, step, due } = stepper();
  const { ends: [a, b] } = new Cable({ name: "a" }, { name: "b" }, { schedule });
  const log = new Log();
  b.attach(log);
  log.answer = () => {
    log.answer = () => {};
    throw new Error("a bug");
  };
  for (const text of ["one", "two"]) send(a, b.mac, a.mac, text);
  assert.throws(step, { message: "a bug" });
  while (due.length > 0) step();
  assert.deepEqual(log.lines.filter((line) => line.length === 3 && line !== "end"), ["one", "two"]);
});
