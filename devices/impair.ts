/**
 * Impair: a Port that treats frames badly, by chance that a seed decides: loss, delay, jitter, reorder, duplicates,
 * corruption, a limited rate.
 *
 * Layer: devices, a wrapper of any Port; plugins/ether has it behind its ctl file, simulations build on it.
 * Super-frames are cut first, so that what is lost is a segment, as on a wire.
 *
 * What holds always: with equal seeds, equal frames at equal times fare equally; each direction has a queue of its own,
 * and nothing waits when nothing delays. It keeps frames in the heap, one allocation each: an instrument, not a fast
 * path.
 *
 * See tc-netem(8), whose words the options are.
 */

import type { Clock } from "../core/clock.ts";
import { Err, excerpt } from "../core/err.ts";
import { CHECKSUM, type FrameInfo, type FrameSink, type Port } from "../core/link.ts";
import { completeChecksum, segment } from "./segment.ts";

/** What befalls frames. Chances from 0 to 1. */
export interface Impairment {
  loss: number;
  delayMs: number;
  /** Up to so much more or less delay, evenly spread. */
  jitterMs: number;
  /** The frame goes without delay, before those that wait; with no delay, it is held back for REORDER_MS. */
  reorder: number;
  duplicate: number;
  /** One bit is turned over. */
  corrupt: number;
  /** Bits a second; 0 has no limit. */
  rate: number;
  /** Bytes that wait for the rate at the most; what is more is lost. */
  limit: number;
  seed: number;
  direction: "in" | "out" | "both";
}

/** What befalls nobody. */
export const UNIMPAIRED: Readonly<Impairment> = {
  loss: 0,
  delayMs: 0,
  jitterMs: 0,
  reorder: 0,
  duplicate: 0,
  corrupt: 0,
  rate: 0,
  limit: 1 << 20,
  seed: 1,
  direction: "both",
};

/** How long a frame is held back that is to be reordered where nothing is delayed. */
const REORDER_MS = 1;
const SCRATCH_BYTES = 69632;

const UNITS: Record<string, [pattern: RegExp, scale: Record<string, number>]> = {
  chance: [/^(\d*\.?\d+)(%?)$/, { "": 1, "%": 0.01 }],
  time: [/^(\d*\.?\d+)(us|ms|s)$/, { us: 0.001, ms: 1, s: 1000 }],
  rate: [/^(\d*\.?\d+)(k|m|g|)bit$/, { "": 1, k: 1e3, m: 1e6, g: 1e9 }],
  bytes: [/^(\d*\.?\d+)(k|m|)b?$/, { "": 1, k: 1024, m: 1 << 20 }],
};

const WORDS: Record<string, [key: Exclude<keyof Impairment, "direction">, unit: string]> = {
  loss: ["loss", "chance"],
  delay: ["delayMs", "time"],
  jitter: ["jitterMs", "time"],
  reorder: ["reorder", "chance"],
  duplicate: ["duplicate", "chance"],
  corrupt: ["corrupt", "chance"],
  rate: ["rate", "rate"],
  limit: ["limit", "bytes"],
  seed: ["seed", "bytes"],
};

/**
 * What words say: `loss 1% delay 10ms jitter 2ms reorder 2% duplicate 0.1% corrupt 0.01% rate 1gbit limit 256k seed 7
 * in`.
 */
export function parseImpairment(words: readonly string[]): Impairment {
  const wanted: Impairment = { ...UNIMPAIRED };
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (word === "in" || word === "out" || word === "both") {
      wanted.direction = word;
      continue;
    }
    if (!Object.hasOwn(WORDS, word)) {
      throw new Err(
        "EINVAL",
        `impair: unknown word "${excerpt(word)}" (known: ${Object.keys(WORDS).join(" ")} in out both)`,
      );
    }
    const [key, unit] = WORDS[word];
    wanted[key] = quantity(word, unit, words[++i] ?? "");
  }
  return wanted;
}

/** The words for it; empty for what befalls nobody. */
export function formatImpairment(what: Impairment): string {
  const { loss, delayMs, jitterMs, reorder, duplicate, corrupt, rate, limit, seed, direction } = what;
  const percent = (word: string, chance: number) => chance > 0 ? `${word} ${+(chance * 100).toPrecision(6)}%` : "";
  const words = [
    percent("loss", loss),
    delayMs > 0 ? `delay ${delayMs}ms` : "",
    jitterMs > 0 ? `jitter ${jitterMs}ms` : "",
    percent("reorder", reorder),
    percent("duplicate", duplicate),
    percent("corrupt", corrupt),
    rate > 0 ? `rate ${rate}bit limit ${limit}` : "",
  ].filter((word) => word !== "");
  return words.length === 0 ? "" : [...words, `seed ${seed}`, direction].join(" ");
}

function quantity(word: string, unit: string, text: string): number {
  const [pattern, scale] = UNITS[unit], parts = pattern.exec(text);
  const value = parts ? Number(parts[1]) * scale[parts[2]] : NaN;
  if (!(value >= 0) || (unit === "chance" && value > 1)) {
    const example = { chance: "1%", time: "10ms", rate: "100mbit", bytes: "256k" }[unit];
    throw new Err("EINVAL", `impair: ${word} is "${excerpt(text)}", wanted something like ${example}`);
  }
  return value;
}

/** A frame that waits. */
interface Waiting {
  dueMs: number;
  bytes: Uint8Array;
  info: FrameInfo;
}

/** One direction. */
class Lane {
  readonly waiting: Waiting[] = [];
  /** When the rate has sent all that it took. */
  idleMs = 0;
  cancel: (() => void) | undefined;
  constructor(readonly deliver: (frames: Waiting[]) => void) {}
}

/** See the head of this file. */
export class Impair implements Port {
  readonly below: Port;
  #what: Impairment = UNIMPAIRED;
  readonly #clock: Clock;
  #random = 1;
  #sink: FrameSink | null = null;
  readonly #scratch = new Uint8Array(SCRATCH_BYTES);
  readonly #in: Lane;
  readonly #out: Lane;
  #lost = 0;
  #duplicated = 0;
  #corrupted = 0;
  #reordered = 0;
  #closed = false;

  constructor(below: Port, clock: Clock) {
    this.below = below;
    this.#clock = clock;
    this.#in = new Lane((frames) => this.#giveUp(frames));
    this.#out = new Lane((frames) => this.#sendDown(frames));
    below.attach({
      begin: () => {},
      frame: (bytes, at, end, info) => this.#arrive(bytes, at, end, info),
      end: () => this.#release(this.#in),
    });
  }

  /** What befalls frames from now on; those under way stay as they are. */
  get impairment(): Impairment {
    return this.#what;
  }

  set impairment(what: Impairment) {
    this.#what = { ...what };
    this.#random = what.seed >>> 0 || 1;
  }

  get name(): string {
    return this.below.name;
  }
  get kind(): string {
    return this.below.kind;
  }
  get medium(): "ether" | "ip" {
    return this.below.medium;
  }
  get mac(): Uint8Array {
    return this.below.mac;
  }
  get mtu(): number {
    return this.below.mtu;
  }
  get checksumOffload(): boolean {
    return this.below.checksumOffload;
  }
  get gsoMaxBytes(): number {
    return this.below.gsoMaxBytes;
  }
  get frame(): Uint8Array {
    return this.#scratch;
  }
  get frameAt(): number {
    return 0;
  }
  get onRoom(): () => void {
    return this.below.onRoom;
  }
  set onRoom(fn: () => void) {
    this.below.onRoom = fn;
  }

  attach(sink: FrameSink | null): void {
    this.#sink = sink;
  }

  begin(bytes: number): boolean {
    return bytes <= SCRATCH_BYTES;
  }

  end(bytes: number, info: FrameInfo): void {
    this.#treat(this.#out, "out", this.#scratch, 0, bytes, info);
  }

  cancel(): void {}

  flush(): void {
    this.#release(this.#out);
    this.below.flush();
  }

  counters(): Record<string, number> {
    return {
      ...this.below.counters(),
      lost: this.#lost,
      duplicated: this.#duplicated,
      corrupted: this.#corrupted,
      reordered: this.#reordered,
    };
  }

  /** Forgets what waits, and closes what is below. */
  close(): void | Promise<void> {
    this.detach();
    return this.below.close();
  }

  /** Lets go of what is below, which stays open; frames that wait are lost. */
  detach(): void {
    this.#closed = true;
    for (const lane of [this.#in, this.#out]) {
      lane.cancel?.();
      lane.waiting.length = 0;
    }
  }

  #arrive(bytes: Uint8Array, at: number, end: number, info: FrameInfo): void {
    this.#treat(this.#in, "in", bytes, at, end, info);
  }

  #treat(lane: Lane, way: "in" | "out", bytes: Uint8Array, at: number, end: number, info: FrameInfo): void {
    if (this.#what.direction !== "both" && this.#what.direction !== way) {
      this.#wait(lane, bytes.slice(at, end), info, this.#clock.monotonic());
      return;
    }
    const emit: FrameSink["frame"] = (b, from, to, about) => this.#befall(lane, b.slice(from, to), { ...about });
    segment(bytes, at, end, info, { medium: this.medium, emit });
  }

  /**
   * Decides the fate of one frame. Chance is drawn in the same order whatever happens, so that options do not shift it.
   */
  #befall(lane: Lane, bytes: Uint8Array, info: FrameInfo): void {
    const what = this.#what, nowMs = this.#clock.monotonic();
    const isLost = this.#chance() < what.loss, isTwice = this.#chance() < what.duplicate;
    const isCorrupt = this.#chance() < what.corrupt, isReordered = this.#chance() < what.reorder;
    const jitterMs = (2 * this.#chance() - 1) * what.jitterMs, bit = Math.floor(this.#chance() * bytes.length * 8);
    if (isLost) return void this.#lost++;
    if (isCorrupt) {
      this.#corrupted++;
      completeChecksum(bytes, 0, bytes.length, info); // before: else the sum would be right for what is wrong
      info.checksum = CHECKSUM.present;
      bytes[bit >>> 3] ^= 1 << (bit & 7);
    }
    const sentMs = this.#sent(lane, bytes.length, nowMs);
    if (sentMs === undefined) return void this.#lost++;
    if (isReordered) this.#reordered++;
    const delayMs = Math.max(0, what.delayMs + jitterMs);
    const heldMs = !isReordered ? delayMs : what.delayMs > 0 ? 0 : delayMs + REORDER_MS;
    this.#wait(lane, bytes, info, sentMs + heldMs);
    if (!isTwice) return;
    this.#duplicated++;
    this.#wait(lane, bytes, info, sentMs + heldMs);
  }

  /** When the rate has sent so many bytes; undefined when too much waits already. */
  #sent(lane: Lane, bytes: number, nowMs: number): number | undefined {
    const { rate, limit } = this.#what;
    if (rate === 0) return nowMs;
    const beginMs = Math.max(nowMs, lane.idleMs);
    if ((beginMs - nowMs) * rate / 8000 + bytes > limit) return undefined;
    return lane.idleMs = beginMs + bytes * 8000 / rate;
  }

  /** Puts a frame where its time is: behind all that are due no later. */
  #wait(lane: Lane, bytes: Uint8Array, info: FrameInfo, dueMs: number): void {
    const { waiting } = lane;
    let at = waiting.length;
    while (at > 0 && waiting[at - 1].dueMs > dueMs) at--;
    const frame = { dueMs, bytes, info: { ...info } };
    if (at === waiting.length) waiting.push(frame);
    else waiting.splice(at, 0, frame);
  }

  /** Delivers what is due, and sets an alarm for the rest. */
  #release(lane: Lane): void {
    if (this.#closed) return;
    const nowMs = this.#clock.monotonic(), { waiting } = lane;
    let due = 0;
    while (due < waiting.length && waiting[due].dueMs <= nowMs) due++;
    const frames = due > 0 ? waiting.splice(0, due) : [];
    lane.cancel?.();
    lane.cancel = waiting.length > 0
      ? this.#clock.after(waiting[0].dueMs - nowMs, () => this.#release(lane))
      : undefined;
    if (frames.length > 0) lane.deliver(frames);
  }

  #giveUp(frames: Waiting[]): void {
    const sink = this.#sink;
    if (!sink) return;
    sink.begin();
    for (const { bytes, info } of frames) sink.frame(bytes, 0, bytes.length, info);
    sink.end();
  }

  #sendDown(frames: Waiting[]): void {
    for (const { bytes, info } of frames) {
      if (!this.below.begin(bytes.length)) this.#lost++;
      else {
        this.below.frame.set(bytes, this.below.frameAt);
        this.below.end(bytes.length, info);
      }
    }
    this.below.flush();
  }

  /** The next number from 0 to 1 of the seed's: a mixed counter (splitmix's 32-bit form). */
  #chance(): number {
    this.#random = (this.#random + 0x9e3779b9) | 0;
    let z = this.#random;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 0x100000000;
  }
}
