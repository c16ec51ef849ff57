/**
 * Sequence numbers of TCP: arithmetic modulo 2 ** 32.
 *
 * Layer: net/wire, a leaf. A number is an int32, as the views read it: it is compared by these functions alone, never by
 * `<`; `===` is right as long as both went through `seqAdd` or a view. Two that are 2 ** 31 apart have no order.
 *
 * See RFC 9293, 3.4.
 */

/** A sequence number, as an int32. */
export type Seq = number;

/** `a` and `count` bytes on; `count` may be negative. */
export function seqAdd(a: Seq, count: number): Seq {
  return a + count | 0;
}

/** Bytes from `b` to `a`; negative when `a` is before `b`. */
export function seqDiff(a: Seq, b: Seq): number {
  return a - b | 0;
}

export function seqLt(a: Seq, b: Seq): boolean {
  return (a - b | 0) < 0;
}

export function seqLe(a: Seq, b: Seq): boolean {
  return (a - b | 0) <= 0;
}

export function seqGt(a: Seq, b: Seq): boolean {
  return (a - b | 0) > 0;
}

export function seqGe(a: Seq, b: Seq): boolean {
  return (a - b | 0) >= 0;
}

export function seqMax(a: Seq, b: Seq): Seq {
  return seqLt(a, b) ? b : a;
}

export function seqMin(a: Seq, b: Seq): Seq {
  return seqLt(a, b) ? a : b;
}
