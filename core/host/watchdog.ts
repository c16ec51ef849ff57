/**
 * Watchdog: tells of an isolate or process whose heart stands still, and kills it when that lasts.
 *
 * Layer: core/host, in the kernel isolate; isolate.ts and process.ts have one each, and all of them share one Watch.
 * There are two limits: at the first it is told of; at the second it is killed, or left alone, as its settings say.
 * They hold once it is up; a start has a limit of its own.
 */

import type { Clock } from "../clock.ts";
import type { Vigil } from "../sched/settings.ts";
import { BEAT_MS } from "./hosted.ts";

/** How often it is looked whether a thread has ended without a word. */
const GONE_MS = 2000;

/** So long without a heartbeat are too long. */
export interface Limit {
  readonly ms: number;
  /** Called once each time that the heart has stood still for so long. */
  passed(): void;
}

interface Heart {
  /** Its count at the last look, and at how many looks it has been that. */
  last: number;
  still: number;
  readonly limits: readonly Limit[];
  readonly back: () => void;
}

/** Listens to hearts. Counts its own looks, so that a machine that slept harms nobody. */
export class Watch {
  readonly #clock: Clock;
  readonly #hearts = new Map<() => number, Heart>();
  #cancel: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Listens from now on; `back` is called when a heart that had passed a limit beats again. Answers how to end it. */
  add(beats: () => number, limits: readonly Limit[], back: () => void = () => {}): () => void {
    this.#hearts.set(beats, { last: beats(), still: 0, limits, back });
    this.#cancel ??= this.#clock.after(BEAT_MS, () => this.#look());
    return () => this.#hearts.delete(beats);
  }

  #look(): void {
    for (const [beats, heart] of this.#hearts) {
      const now = beats();
      if (now === heart.last) {
        heart.still++;
        for (const { ms, passed } of heart.limits) if (heart.still === looksOf(ms)) passed();
      } else {
        const late = heart.limits.some(({ ms }) => heart.still >= looksOf(ms));
        heart.last = now;
        heart.still = 0;
        if (late) heart.back();
      }
    }
    this.#cancel = this.#hearts.size > 0 ? this.#clock.after(BEAT_MS, () => this.#look()) : undefined;
  }
}

/** One look more than the limit needs: a beat and a look drift against each other. */
function looksOf(ms: number): number {
  return Math.ceil(ms / BEAT_MS) + 1;
}

const NONE = { warn: 0, watchdog: 0 };

/** What a watchdog watches. */
export interface Watched {
  beats(): number;
  /** Whether it has ended without a word; then it sees to that itself. */
  gone(): boolean;
  /** Its heart has stood still for too long: it has to end. */
  hung(why: string): void;
}

/** Watches one isolate or process, from when it is made until `end`. */
export class Watchdog {
  /** How often its heart stood still and it was left alone. */
  hangs = 0;
  readonly #watch: Watch;
  readonly #watched: Watched;
  #vigil: Vigil;
  #tell: (text: string) => void = () => {};
  #up = false;
  #unwatch = () => {};
  #ended = false;

  constructor(watch: Watch, watched: Watched, watchdogMs: number) {
    this.#watch = watch;
    this.#watched = watched;
    this.#vigil = { warn: 0, watchdog: watchdogMs, hang: "kill" };
    this.#listen();
  }

  /** It has started: the limits hold from now on. */
  up(): void {
    this.#up = true;
    this.#listen();
  }

  /** Watches by these limits, and tells what it sees. */
  set(vigil: Vigil, tell: (text: string) => void = () => {}): void {
    this.#vigil = vigil;
    this.#tell = tell;
    this.#listen();
  }

  #listen(): void {
    if (this.#ended) return;
    this.#unwatch();
    const tell = this.#tell, { hang } = this.#vigil, { warn, watchdog } = this.#up ? this.#vigil : NONE;
    const watched = this.#watched, warns = warn > 0 && (watchdog === 0 || warn < watchdog);
    const then = watchdog === 0 ? "" : hang === "kill" ? `, it is killed at ${watchdog}` : `, it is let be`;
    const hung = () => {
      const why = `no heartbeat for ${watchdog} ms`;
      tell(hang === "kill" ? `${why}: it is killed` : `${why}: it is left alone`);
      if (hang === "kill") watched.hung(why);
      else this.hangs++;
    };
    const limits = [
      { ms: GONE_MS, passed: () => void watched.gone() },
      ...warns ? [{ ms: warn, passed: () => watched.gone() || tell(`no heartbeat for ${warn} ms${then}`) }] : [],
      ...watchdog > 0 ? [{ ms: watchdog, passed: () => watched.gone() || hung() }] : [],
    ];
    this.#unwatch = this.#watch.add(() => watched.beats(), limits, () => warns && tell("its heart beats again"));
  }

  end(): void {
    this.#ended = true;
    this.#unwatch();
  }
}
