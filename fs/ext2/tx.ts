/**
 * Tx: the undo log of the operation that runs.
 *
 * Layer: fs/ext2, a leaf. An operation changes blocks and tables in place, and notes first how to change them back. An
 * operation that fails, or that has to wait for the disk, is undone whole: a refused operation has changed nothing.
 */

/** How to put one thing back: bytes of an array, or whatever a function does. */
type Step = Uint8Array | (() => void);

export class Tx {
  /** Differs for every operation: what was noted once in an operation need not be noted again. */
  id = 1;
  readonly #steps: Step[] = [];
  /** For each step over bytes: offset, length. */
  readonly #spans: number[] = [];
  readonly #after: (() => void)[] = [];
  #saved = new Uint8Array(1 << 14);
  #top = 0;

  /** Notes `length` bytes of `target` as they are now. */
  save(target: Uint8Array, offset: number, length: number): void {
    if (this.#top + length > this.#saved.length) {
      const grown = new Uint8Array(2 * this.#saved.length + length);
      grown.set(this.#saved);
      this.#saved = grown;
    }
    if (length <= 32) { for (let i = 0; i < length; i++) this.#saved[this.#top + i] = target[offset + i]; }
    else this.#saved.set(target.subarray(offset, offset + length), this.#top);
    this.#top += length;
    this.#steps.push(target);
    this.#spans.push(offset, length);
  }

  /** Notes what undoes the change that is about to be made. */
  undo(step: () => void): void {
    this.#steps.push(step);
  }

  /** Notes what is to be done once the operation has succeeded. */
  after(step: () => void): void {
    this.#after.push(step);
  }

  /** The operation is done. */
  commit(): void {
    if (this.#after.length > 0) {
      for (const step of this.#after) step();
      this.#after.length = 0;
    }
    this.#steps.length = 0;
    this.#spans.length = 0;
    this.#top = 0;
    this.id++;
  }

  /** Puts everything back, the last change first. */
  rollback(): void {
    this.#after.length = 0;
    for (let i = this.#steps.length - 1; i >= 0; i--) {
      const step = this.#steps[i];
      if (typeof step === "function") step();
      else {
        const length = this.#spans.pop()!, offset = this.#spans.pop()!;
        this.#top -= length;
        step.set(this.#saved.subarray(this.#top, this.#top + length), offset);
      }
    }
    this.commit();
  }
}
