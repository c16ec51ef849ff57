/**
 * Which names a file may be given.
 *
 * Layer: fs, a leaf. Names are JavaScript strings in which a byte that is not UTF-8 stands as a lone surrogate
 * U+DC80..U+DCFF (core/p9/utf8.ts).
 *
 * See intro(5) of Plan 9 and path_resolution(7) of Linux.
 */

import { Err } from "../core/err.ts";
import { MAXNAME } from "../core/p9/types.ts";
import { utf8Length } from "../core/p9/utf8.ts";

/**
 * Throws unless `name` may be given to a file: EINVAL for none, `.`, `..`, a slash or a NUL; ENAMETOOLONG over
 * 255 bytes; EILSEQ for half a character.
 */
export function checkName(name: string): void {
  if (name === "" || name === "." || name === "..") throw new Err("EINVAL", `illegal name: "${name}"`);
  for (let i = 0; i < name.length; i++) {
    const unit = name.charCodeAt(i);
    if (unit === 0x2f || unit === 0) throw new Err("EINVAL", "illegal name: slash or NUL in it");
    if (unit < 0xd800 || unit > 0xdfff) continue;
    if (unit < 0xdc00 && (name.charCodeAt(i + 1) & 0xfc00) === 0xdc00) i++;
    else if (unit < 0xdc80 || unit > 0xdcff) throw new Err("EILSEQ");
  }
  if (name.length > MAXNAME || utf8Length(name) > MAXNAME) throw new Err("ENAMETOOLONG");
}
