/**
 * Rows of words as columns.
 *
 * Layer: programs/lib, pure.
 */

/** A line a row, the head first; columns are as wide as their widest word, the last one as it is. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows], widths = head.map((_, i) => Math.max(...all.map((row) => row[i].length)));
  return all.map((row) => row.map((word, i) => word.padEnd(widths[i])).join("  ").trimEnd() + "\n").join("");
}
