/**
 * The greatest or least of the samples of a sliding window, in constant room and time.
 *
 * Layer: net/tcp/cc, a leaf. Three samples are kept: the best, the best after it, and the best after that, each at its time; when
 * the best grows too old, the next takes its place. Exact for the best of the window; what follows it is an estimate. The
 * "time" is whatever grows: milliseconds, or rounds.
 *
 * See Kathleen Nichols, windowed min/max filter, as in Linux's lib/win_minmax.c.
 */

/** Both filters; `better` is what tells them apart. */
abstract class Windowed {
  /** The best of the window; 0 before the first sample. */
  value = 0;
  private at = 0;
  private second = 0;
  private secondAt = 0;
  private third = 0;
  private thirdAt = 0;
  private empty = true;

  constructor(protected readonly window: number) {}

  protected abstract better(a: number, b: number): boolean;

  /** A sample at a time that is not before the last one's; answers the best. */
  update(value: number, at: number): number {
    if (this.empty || this.better(value, this.value) || at - this.thirdAt > this.window) return this.reset(value, at);
    if (this.better(value, this.second)) {
      this.second = this.third = value;
      this.secondAt = this.thirdAt = at;
    } else if (this.better(value, this.third)) {
      this.third = value;
      this.thirdAt = at;
    }
    return this.age(value, at);
  }

  /** Forgets all but this sample. */
  reset(value: number, at: number): number {
    this.empty = false;
    this.value = this.second = this.third = value;
    this.at = this.secondAt = this.thirdAt = at;
    return value;
  }

  /** Drops what left the window; makes later samples the second and third when there is none of the window's later parts. */
  private age(value: number, at: number): number {
    const age = at - this.at;
    if (age > this.window) {
      this.shift(value, at);
      if (at - this.at > this.window) this.shift(value, at);
    } else if (this.secondAt === this.at && age > this.window / 4) {
      this.second = this.third = value;
      this.secondAt = this.thirdAt = at;
    } else if (this.thirdAt === this.secondAt && age > this.window / 2) {
      this.third = value;
      this.thirdAt = at;
    }
    return this.value;
  }

  private shift(value: number, at: number): void {
    this.value = this.second;
    this.at = this.secondAt;
    this.second = this.third;
    this.secondAt = this.thirdAt;
    this.third = value;
    this.thirdAt = at;
  }
}

/** The greatest sample of the window. */
export class WindowedMax extends Windowed {
  protected better(a: number, b: number): boolean {
    return a >= b;
  }
}

/** The least sample of the window. */
export class WindowedMin extends Windowed {
  protected better(a: number, b: number): boolean {
    return a <= b;
  }
}
