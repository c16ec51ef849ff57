/**
 * An exhaustive explorer of interleavings: runs real, unchanged code that shares memory through `Atomics`, under every order
 * in which its threads can take their steps.
 *
 * Layer: tests. A thread is a plain function that blocks only in `Atomics.wait`. A step is one access to shared memory:
 * an Atomics call (the global is replaced while a thread runs) or an access to a typed array given through `traced`. A function can not
 * be halted in its middle, so a thread is run again from its start for each step, with the answers that it had before, up to the next
 * access, and abandoned there. States that were seen before, memory and histories alike, are not followed twice.
 *
 * Only accesses to cells that more than one thread touches, and one writes, can make a difference, so only they are steps; which
 * those are comes out of the exploration itself, which starts again when it has learned of a new one.
 *
 * It finds: an assertion that fails in some order, and a state in which every thread that is left sleeps (a lost wake-up).
 * What it takes for granted is sequential consistency, which JavaScript promises for Atomics, and for the rest when there is no race.
 */

/** What a world is made of: threads, made anew for each run; all they share lies in buffers. */
export type Threads = Record<string, () => void>;

/** What an exploration came to. */
export interface Explored {
  /** Different states of memory and threads. */
  states: number;
  /** Orders in which all threads came to their end, counted as different end states. */
  ends: number;
  /** The most steps that one order took. */
  longest: number;
}

/** A found error, with the order of steps that leads to it. */
export class Interleaving extends Error {}

type Answer = number | string;

interface ThreadState {
  readonly answers: readonly Answer[];
  /** A number for this history. */
  readonly history: number;
  readonly status: "ready" | "asleep" | "done";
  /** The cell that it sleeps on. */
  readonly cell: number;
}

interface Node {
  /** Values of the cells, as far as they have been touched. */
  readonly cells: readonly number[];
  readonly threads: readonly ThreadState[];
  readonly parent: Node | null;
  readonly step: string;
  readonly depth: number;
}

/** Thrown through a thread to abandon it at its next access. */
const HALT = { halt: true };
const real = Atomics;

/** The run that accesses go to. */
let current: Run | undefined;

/** Runs every interleaving of `threads`; throws an `Interleaving` at the first that goes wrong, or when there are too many. */
export function explore(threads: Threads, { maxStates = 200_000 } = {}): Explored {
  const memory = new Memory();
  for (;;) {
    const known = memory.shared.size, result = exploreAll(memory, threads, maxStates);
    if (result) return result;
    if (memory.shared.size === known) throw new Error("interleave: nothing was learned");
  }
}

/** One exploration; null when it found a shared cell that it had not known. */
function exploreAll(memory: Memory, threads: Threads, maxStates: number): Explored | null {
  const names = Object.keys(threads), bodies = Object.values(threads);
  const fresh: ThreadState = { answers: [], history: 0, status: "ready", cell: -1 };
  const root: Node = { cells: [], threads: names.map(() => fresh), parent: null, step: "", depth: 0 };
  const stack = [root], seen = new Set<string>();
  const result: Explored = { states: 0, ends: 0, longest: 0 };
  for (let node; (node = stack.pop());) {
    const ready = node.threads.flatMap((t, i) => t.status === "ready" ? [i] : []);
    if (ready.length === 0) {
      const asleep = names.filter((_, i) => node.threads[i].status === "asleep");
      if (asleep.length > 0) throw failure(node, `${asleep.join(" and ")} will sleep for ever`);
      result.ends++;
      result.longest = Math.max(result.longest, node.depth);
    }
    for (const i of ready) {
      const next = new Run(memory, node, i, names[i]).step(bodies[i]);
      if (memory.learned()) return null;
      const key = `${next.cells.join()}|${next.threads.map((t) => `${t.history}${t.status[0]}${t.cell}`).join()}`;
      if (seen.has(key)) continue;
      seen.add(key);
      stack.push(next);
      if (++result.states > maxStates) throw failure(next, `more than ${maxStates} states`);
    }
  }
  return result;
}

/** Takes the accesses made by `run` as one step: for what comes before the part that is of interest. */
export function inOneStep<T>(run: () => T): T {
  const r = current!;
  r.grouped++;
  const value = run();
  r.grouped--;
  return value;
}

/**
 * Says that all that matters of this thread's past is in these values and in the numbers that these objects hold: histories that
 * agree in them are taken for one. To be called at the head of a loop; without it exploring takes far longer.
 */
export function forget(...state: (number | object)[]): void {
  const numbers = state.flatMap((s) =>
    typeof s === "number" ? s : Object.values(s).filter((v) => typeof v === "number")
  );
  current!.forget(numbers.join());
}

/** A typed array whose every access is a step. */
export function traced<T extends Uint8Array | Int32Array>(array: T): T {
  return new Proxy(array, {
    get(target, key) {
      if (typeof key === "string" && /^\d/.test(key)) return current!.plain("read", target, Number(key), 1);
      if (key === "set") return (src: Uint8Array, at: number) => current!.plain("write", target, at, src.length, src);
      if (key === "subarray") throw new Error("interleave: keep copies short, a view can not be traced");
      return Reflect.get(target, key, target);
    },
    set(target, key, value) {
      current!.plain("write", target, Number(key), 1, [value]);
      return true;
    },
  });
}

/** Gives every shared word and byte that is touched a cell; values live in the nodes. */
class Memory {
  readonly #cells: Map<string, number> = new Map();
  readonly #buffers: ArrayBufferLike[] = [];
  readonly #histories: Map<string, number> = new Map();
  readonly initial: number[] = [];
  /** Cells that one thread writes and another touches. */
  readonly shared: Set<number> = new Set();
  readonly #users: { readers: Set<number>; writers: Set<number> }[] = [];
  #learned = false;

  /** Notes who touched a cell. */
  touch(cell: number, thread: number, writes: boolean): void {
    const { readers, writers } = this.#users[cell] ??= { readers: new Set(), writers: new Set() };
    (writes ? writers : readers).add(thread);
    if (writers.size === 0 || this.shared.has(cell) || new Set([...readers, ...writers]).size < 2) return;
    this.shared.add(cell);
    this.#learned = true;
  }

  /** Whether a shared cell was found since the last time it was asked. */
  learned(): boolean {
    const learned = this.#learned;
    this.#learned = false;
    return learned;
  }

  /** The cell at a byte address; `initial` is what the memory held before any thread ran. */
  cell(buffer: ArrayBufferLike, address: number, initial: number): number {
    let id = this.#buffers.indexOf(buffer);
    if (id < 0) id = this.#buffers.push(buffer) - 1;
    const key = `${id}:${address}`;
    let cell = this.#cells.get(key);
    if (cell === undefined) {
      this.#cells.set(key, cell = this.initial.length);
      this.initial.push(initial);
    }
    return cell;
  }

  /** A number for a history that goes on with `answer`: equal histories have equal numbers. */
  history(before: number, answer: Answer): number {
    const key = `${before}:${answer}`;
    let number = this.#histories.get(key);
    if (number === undefined) this.#histories.set(key, number = this.#histories.size + 1);
    return number;
  }
}

/** One thread, run again to where it was, and one step further. */
class Run {
  grouped = 0;
  readonly #memory: Memory;
  readonly #node: Node;
  readonly #index: number;
  readonly #name: string;
  readonly #cells: number[];
  readonly #threads: ThreadState[];
  #position = 0;
  #stepped = false;
  #what = "";

  constructor(memory: Memory, node: Node, index: number, name: string) {
    this.#memory = memory;
    this.#node = node;
    this.#index = index;
    this.#name = name;
    this.#cells = [...node.cells];
    this.#threads = [...node.threads];
  }

  step(body: () => void): Node {
    current = this;
    (globalThis as { Atomics: unknown }).Atomics = this.#atomics();
    try {
      body();
      this.#change({ status: "done" });
    } catch (e) {
      if (e !== HALT) throw failure(this.#after(), `${this.#name}: ${(e as Error).stack ?? e}`);
    } finally {
      (globalThis as { Atomics: unknown }).Atomics = real;
      current = undefined;
    }
    return this.#after();
  }

  forget(state: string): void {
    if (this.#position < this.#threads[this.#index].answers.length) return;
    this.#change({ history: this.#memory.history(-1, state) });
  }

  /** An access that is not atomic: one step for a whole copy. */
  plain(
    kind: "read" | "write",
    array: Uint8Array | Int32Array,
    at: number,
    count: number,
    src?: ArrayLike<number>,
  ): number {
    const width = array.BYTES_PER_ELEMENT;
    const what = () => `${kind} ${array.constructor.name}[${at}${count > 1 ? `..${at + count - 1}` : ""}]`;
    const from = array.byteOffset + at * width;
    const cells = Array.from({ length: count * width }, (_, i) => this.#memory.cell(array.buffer, from + i, 0));
    return this.#access(what, cells, kind === "write", () => {
      let value = 0;
      cells.forEach((cell, i) => {
        const shift = 8 * (i % width);
        if (kind === "write") this.#cells[cell] = (src![Math.floor(i / width)] >> shift) & 0xff;
        else value |= this.#value(cell) << shift;
      });
      return value;
    }) as number;
  }

  /** Answers from the history, or makes the one live step, or halts. */
  #access(what: () => string, cells: number[], writes: boolean, live: () => Answer): Answer {
    const { answers } = this.#threads[this.#index];
    if (this.#position < answers.length) return answers[this.#position++];
    for (const cell of cells) this.#memory.touch(cell, this.#index, writes);
    if (this.grouped === 0 && cells.some((cell) => this.#memory.shared.has(cell))) {
      if (this.#stepped) throw HALT;
      this.#stepped = true;
    }
    const answer = live();
    this.#what += ` ${what()} -> ${answer};`;
    const state = this.#threads[this.#index];
    this.#change({
      answers: [...state.answers, answer],
      history: this.#memory.history(state.history, answer),
    });
    this.#position++;
    return answer;
  }

  #atomics(): typeof Atomics {
    const update = (name: string, change: (old: number, operand: number) => number, writes = true) => {
      return (words: Int32Array, index: number, operand = 0) => {
        const cell = this.#cell(words, index);
        return this.#access(() => `${name}(${index}, ${operand})`, [cell], writes, () => {
          const old = this.#value(cell);
          this.#cells[cell] = change(old, operand) | 0;
          return name === "store" ? operand : old;
        });
      };
    };
    return {
      load: update("load", (old) => old, false),
      store: update("store", (_, operand) => operand),
      exchange: update("exchange", (_, operand) => operand),
      add: update("add", (old, operand) => old + operand),
      or: update("or", (old, operand) => old | operand),
      compareExchange: (words: Int32Array, index: number, expected: number, operand: number) =>
        update("compareExchange", (old) => old === expected ? operand : old)(words, index),
      wait: (words: Int32Array, index: number, expected: number) => {
        const cell = this.#cell(words, index);
        return this.#access(() => `wait(${index}, ${expected})`, [cell], false, () => {
          if (this.#value(cell) !== expected) return "not-equal";
          this.#what += ` wait(${index}, ${expected}) sleeps;`;
          this.#change({ status: "asleep", cell });
          throw HALT;
        });
      },
      notify: (words: Int32Array, index: number) => {
        const cell = this.#cell(words, index);
        return this.#access(() => `notify(${index})`, [cell], true, () => this.#notify(cell));
      },
    } as unknown as typeof Atomics;
  }

  #notify(cell: number): number {
    let woken = 0;
    this.#threads.forEach((t, i) => {
      if (t.status !== "asleep" || t.cell !== cell) return;
      const history = this.#memory.history(t.history, "ok");
      this.#threads[i] = { answers: [...t.answers, "ok"], history, status: "ready", cell: -1 };
      woken++;
    });
    return woken;
  }

  #cell(words: Int32Array, index: number): number {
    return this.#memory.cell(words.buffer, words.byteOffset + index * 4, real.load(words, index));
  }

  #value(cell: number): number {
    return this.#cells[cell] ?? this.#memory.initial[cell];
  }

  #change(part: Partial<ThreadState>): void {
    this.#threads[this.#index] = { ...this.#threads[this.#index], ...part };
  }

  #after(): Node {
    for (let cell = 0; cell < this.#memory.initial.length; cell++) this.#cells[cell] ??= this.#memory.initial[cell];
    return {
      cells: this.#cells,
      threads: this.#threads,
      parent: this.#node,
      step: `${this.#name}:${this.#what}`,
      depth: this.#node.depth + 1,
    };
  }
}

function failure(node: Node, what: string): Interleaving {
  const steps: string[] = [];
  for (let n: Node | null = node; n?.parent; n = n.parent) steps.push(n.step);
  return new Interleaving(`${what}\nafter these steps:\n  ${steps.reverse().join("\n  ")}`);
}
