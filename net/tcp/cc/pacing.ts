/**
 * Pacing: when the next segment or super-segment may leave.
 *
 * Layer: net/tcp/cc; the engine owns one a connection. What is sent takes its bytes' time of the rate; a timer that comes
 * late, and they do, is made up for by a burst of at most `CREDIT_MS`, or of twice as much as timers are late on the average,
 * so that the rate is kept also where the host is busy.
 */

/** Largest super-segment: a whole IP packet with its headers stays below 64 KiB. */
export const MAX_QUANTUM = 65_535 - 120;

/** How much lost time is made up for, at the least; what a single timer adds to the average at the most, and its share in it. */
const CREDIT_MS = 2, MOST_LATE_MS = 10, LATE_GAIN = 1 / 8;

/** How long one super-segment should last at the paced rate. */
const QUANTUM_MS = 1;

/** The pacer of one connection. */
export class Pacer {
  /** When the next may be sent; not in the future when nothing waits. */
  readyAt = 0;
  /** How late timers are on the average. */
  private lateMs = 0;

  /** Whether something may be sent now. */
  ready(now: number): boolean {
    return now >= this.readyAt;
  }

  /** The timer has come, so much later than it was set to. */
  came(lateMs: number): void {
    this.lateMs += (Math.min(lateMs, MOST_LATE_MS) - this.lateMs) * LATE_GAIN;
  }

  /** `bytes` were sent at a rate of bytes a millisecond; 0 is without end. */
  sent(bytes: number, now: number, rate: number): void {
    if (rate <= 0) this.readyAt = now;
    else this.readyAt = Math.max(this.readyAt, now - Math.max(CREDIT_MS, 2 * this.lateMs)) + bytes / rate;
  }

  /** Nothing was in flight for a while: no credit is kept. */
  restart(now: number): void {
    this.readyAt = Math.max(this.readyAt, now);
  }

  /** The rate has changed: what waits, waits no longer than `bytes` take now. */
  hurry(now: number, bytes: number, rate: number): void {
    this.readyAt = rate <= 0 ? Math.min(this.readyAt, now) : Math.min(this.readyAt, now + bytes / rate);
  }
}

/** Bytes of a super-segment at a paced rate: a millisecond's worth, whole segments, two at least and MAX_QUANTUM at most. */
export function quantumOf(rate: number, mss: number): number {
  const most = Math.max(Math.floor(MAX_QUANTUM / mss), 1);
  if (rate <= 0) return most * mss;
  return Math.min(Math.max(Math.ceil(rate * QUANTUM_MS / mss), 2), most) * mss;
}
