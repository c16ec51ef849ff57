/**
 * The least RTT that does not come from a few packets which overtook the others: the lower quartile of windows of samples.
 *
 * Layer: net/tcp/cc, a leaf. On a path that reorders, a segment or an ACK may arrive much sooner than its neighbours, and the
 * least of all samples is then no property of the path. A quarter of a window's samples is never from such packets.
 */

const WINDOW = 64, KEPT = WINDOW / 4;
/** What a new one is copied from: to fill an array takes a microsecond, for each connection. */
const BLANK: readonly number[] = Array.from({ length: KEPT }, () => 0.5);

/** Samples are added; each window of them has a quartile. */
export class LowQuartile {
  private count = 0;
  /** The least samples of the window, the smallest first. No typed array: that is memory outside of the heap, for each connection. */
  private readonly least: number[] = BLANK.slice();

  /** Forgets the window. */
  restart(): void {
    this.count = 0;
  }

  /** The quartile of the samples so far; -1 before there are four. */
  get value(): number {
    return this.count < 4 ? -1 : this.least[(this.count >> 2) - 1];
  }

  /** Adds a sample; answers the quartile when it fills the window, which then begins anew, else -1. */
  add(sample: number): number {
    const { least } = this;
    let at = Math.min(this.count++, KEPT);
    if (at === KEPT && sample < least[KEPT - 1]) at--;
    if (at < KEPT) {
      for (; at > 0 && least[at - 1] > sample; at--) least[at] = least[at - 1];
      least[at] = sample;
    }
    if (this.count < WINDOW) return -1;
    this.count = 0;
    return least[KEPT - 1];
  }
}
