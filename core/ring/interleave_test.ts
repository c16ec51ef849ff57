/**
 * The ring and the doorbell under every interleaving of their atomic steps: no message lost, no wake-up lost, no byte
 * overwritten before it was read. The code that runs is the real one (tests/interleave.ts says how).
 */

import assert from "node:assert/strict";
import {
  explore,
  type Explored,
  forget,
  inOneStep,
  Interleaving,
  type Threads,
  traced,
} from "../../tests/interleave.ts";
import { type BellRef, createBell, Doorbell, ringBell } from "./doorbell.ts";
import {
  Consumer,
  consumerBell,
  createRing,
  Producer,
  producerBell,
  revokeRing,
  RING_HEADER_BYTES,
  type RingRef,
} from "./spsc.ts";

const NO_SPIN = { spin: 0, turns: 0 };
/** Three bytes before 32-bit indices wrap, in rings of two and four messages. */
const NEAR_WRAP = -32;

function ring(bytes: number, bells: Partial<RingRef> = {}): RingRef {
  const buffer = new SharedArrayBuffer(RING_HEADER_BYTES + bytes);
  return createRing({ buffer, offset: 0, ...bells }, { bytes, start: NEAR_WRAP });
}

/** Makes an end of a ring in a thread: data accesses become steps, counters are the thread's own. */
function attach<T extends Producer | Consumer>(make: () => T): T {
  const end = inOneStep(make);
  Object.assign(end, { bytes: traced(end.bytes), words: traced(end.words), counters: new Float64Array(8) });
  return end;
}

const producer = (ref: RingRef) => attach(() => new Producer(ref, { id: 1 }));
const consumer = (ref: RingRef) => attach(() => new Consumer(ref, { id: 2 }));
const bell = (ref: BellRef) => new Doorbell(ref, { budget: NO_SPIN });

/** Sends messages 1 to `count`, `batch` to a publish; parks when the ring is full. */
function sender(ref: RingRef, count: number, batch = 1): () => void {
  return () => {
    const p = producer(ref), b = bell(producerBell(ref));
    for (let i = 1; i <= count; i++) {
      let at;
      while (forget(i, p), (at = p.reserve(1)) < 0) {
        p.publish();
        b.waitSync(p);
      }
      p.bytes[at] = i;
      if (i % batch === 0) p.publish();
    }
    p.publish();
  };
}

/** Receives messages 1 to `count`, giving back once a drain; parks when the ring is empty. */
function receiver(ref: RingRef, count: number): () => void {
  return () => {
    const c = consumer(ref), b = bell(consumerBell(ref));
    for (let seen = 0; seen < count;) {
      forget(seen, c);
      for (let at; seen < count && (at = c.next()) >= 0;) {
        assert.equal(c.length, 1);
        assert.equal(c.bytes[at], ++seen);
      }
      c.release();
      if (seen < count) b.waitSync(c);
    }
  };
}

/** A test that explores; says how far it went. */
function everyOrder(name: string, threads: () => Threads, expect: { states: number }): void {
  Deno.test(name, () => {
    const found: Explored = explore(threads());
    assert.ok(found.ends > 0);
    assert.ok(found.states >= expect.states, `only ${found.states} states: the threads no longer meet`);
  });
}

/** A test that the explorer finds a mistake. */
function mistake(name: string, threads: () => Threads, message: RegExp): void {
  Deno.test(`the explorer finds ${name}`, () => {
    assert.throws(() => explore(threads()), (e: Error) => e instanceof Interleaving && message.test(e.message));
  });
}

everyOrder("three messages through a ring of two, one at a time: none lost, none overwritten, nobody sleeps on", () => {
  const ref = ring(32);
  return { sender: sender(ref, 3), receiver: receiver(ref, 3) };
}, { states: 500 });

everyOrder("three messages in batches of two through a ring of two", () => {
  const ref = ring(32);
  return { sender: sender(ref, 3, 2), receiver: receiver(ref, 3) };
}, { states: 500 });

everyOrder("a stream of 24 bytes through a ring of 16, where indices wrap", () => {
  const ref = ring(16);
  return {
    sender() {
      const p = producer(ref), b = bell(producerBell(ref));
      const bytes = Uint8Array.from({ length: 24 }, (_, i) => i);
      for (let done = 0; done < 24;) {
        forget(done, p);
        const count = p.put(bytes, done);
        p.publish();
        done += count;
        if (done < 24) b.waitSync(p);
      }
    },
    receiver() {
      const c = consumer(ref), b = bell(consumerBell(ref)), into = new Uint8Array(4);
      for (let seen = 0; seen < 24;) {
        forget(seen, c);
        const count = c.take(into);
        for (let i = 0; i < count; i++) assert.equal(into[i], seen++);
        c.release();
        if (count === 0) b.waitSync(c);
      }
    },
  };
}, { states: 500 });

everyOrder("a producer that waits for half of the ring is woken by the one release that empties it", () => {
  const ref = ring(16);
  return {
    sender() {
      const p = producer(ref), b = bell(producerBell(ref)), two = new Uint8Array(2), sixteen = new Uint8Array(16);
      p.put(sixteen);
      while (p.put(two) < 2) b.waitSync(p);
      p.publish();
    },
    receiver() {
      const c = consumer(ref), b = bell(consumerBell(ref)), into = new Uint8Array(16);
      for (let seen = 0; seen < 18;) {
        forget(seen, c);
        const count = c.take(into);
        seen += count;
        c.release();
        if (count === 0) b.waitSync(c);
      }
    },
  };
}, { states: 100 });

everyOrder("a consumer that parks sees the close, and everything that was published before it", () => {
  const ref = ring(32);
  return {
    sender() {
      const p = producer(ref);
      p.bytes[p.reserve(1)] = 7;
      p.close();
    },
    receiver() {
      const c = consumer(ref), b = bell(consumerBell(ref));
      let seen = 0;
      while (!c.ended) {
        for (let at; (at = c.next()) >= 0; seen++) assert.equal(c.bytes[at], 7);
        c.release();
        if (!c.ended) b.waitSync(c);
      }
      assert.equal(seen, 1);
    },
  };
}, { states: 100 });

everyOrder("a producer that parks for room sees that its consumer has closed", () => {
  const ref = ring(32);
  return {
    sender() {
      const p = producer(ref), b = bell(producerBell(ref));
      while (!p.gone) {
        while (p.reserve(1) >= 0);
        p.publish();
        b.waitSync(p);
      }
    },
    receiver() {
      const c = consumer(ref);
      c.next();
      c.close();
    },
  };
}, { states: 100 });

everyOrder("a ring that is taken back wakes the producer that waits for room", () => {
  const ref = ring(32);
  return {
    sender() {
      const p = producer(ref), b = bell(producerBell(ref));
      while (p.reserve(1) >= 0 && p.publish());
      while (!p.gone) b.waitSync(p);
    },
    supervisor: () => revokeRing(ref),
  };
}, { states: 50 });

everyOrder("a ring that is taken back wakes the consumer that waits for a message, while one is sent", () => {
  const ref = ring(32);
  return {
    sender: () => {
      const p = producer(ref);
      p.reserve(0);
      p.publish();
    },
    receiver() {
      const c = consumer(ref), b = bell(consumerBell(ref));
      for (;;) {
        forget(c);
        while (c.next() >= 0);
        if (c.ended) break;
        b.waitSync(c);
      }
    },
    supervisor: () => revokeRing(ref),
  };
}, { states: 500 });

everyOrder("an isolate that sleeps on one bell for two rings misses neither", () => {
  const own = createBell();
  const refs = [ring(32, { consumerBell: own }), ring(32, { consumerBell: own })];
  return {
    left: sender(refs[0], 1),
    right: sender(refs[1], 1),
    receiver() {
      const ends = refs.map(consumer), b = bell(own);
      const either = {
        ready: () => ends.some((c) => c.ready()),
        eager: true,
        due: false,
        arm: () => {},
        disarm: () => {},
        waited: () => {},
      };
      for (let seen = 0; seen < 2;) {
        for (const c of ends) {
          for (; c.next() >= 0; seen++);
          c.release();
        }
        if (seen < 2) b.waitSync(either);
      }
    },
  };
}, { states: 500 });

mistake("a message published before it was written", () => {
  const ref = ring(32);
  return {
    sender() {
      const p = producer(ref), at = p.reserve(1);
      p.publish();
      p.bytes[at] = 1;
    },
    receiver: receiver(ref, 1),
  };
}, /Expected values to be strictly equal/);

mistake("a message given back before it was read", () => {
  const ref = ring(32);
  return {
    sender: sender(ref, 3),
    receiver() {
      const c = consumer(ref), b = bell(consumerBell(ref));
      for (let seen = 0; seen < 3;) {
        const at = c.next();
        c.release();
        if (at < 0) b.waitSync(c);
        else assert.equal(c.bytes[at], ++seen);
      }
    },
  };
}, /Expected values to be strictly equal/);

mistake("a sleeper that looks before it arms", () => {
  const ref = ring(32), word = new Int32Array(consumerBell(ref).buffer, consumerBell(ref).offset, 1);
  return {
    sender: sender(ref, 1),
    receiver() {
      const c = consumer(ref);
      while (c.next() < 0) {
        Atomics.store(word, 0, 1);
        Atomics.wait(word, 0, 1);
      }
    },
  };
}, /receiver will sleep for ever/);

mistake("a ringer that looks at the bell before it publishes", () => {
  const ref = ring(32);
  return {
    sender() {
      const deaf = createBell();
      const p = attach(() => new Producer({ ...ref, consumerBell: deaf }, { id: 1 }));
      p.bytes[p.reserve(1)] = 1;
      ringBell(consumerBell(ref));
      p.publish();
    },
    receiver: receiver(ref, 1),
  };
}, /receiver will sleep for ever/);
