/**
 * tree: prints what is below a directory, a line for each file. The manual page is ../lib/man/tree.md.
 *
 * Layer: images; a program as a user writes one. It stands on the disk of the default image, and imports ring9/proc alone.
 */

import { defineProgram, type Dir, DMDIR, toErr } from "ring9/proc";

const USAGE = "usage: tree [-d depth] [directory]";
const DEPTH = 8, COLUMN = 10;

export default defineProgram(({ args, sys, print }) => {
  const words = args.slice(1), count = { files: 0, directories: 0, bytes: 0 };
  const depth = words[0] === "-d" ? Number(words.splice(0, 2)[1]) : DEPTH;
  if (words.length > 1 || !(depth >= 1)) return USAGE;
  const complain = (text: string) => void sys.write(2, new TextEncoder().encode(text));

  const below = (path: string, left: number) => {
    for (const { name, mode, length } of listed(path)) {
      const at = path === "/" ? `/${name}` : `${path}/${name}`, isDir = (mode & DMDIR) !== 0;
      count[isDir ? "directories" : "files"]++;
      count.bytes += isDir ? 0 : length;
      print(`${(isDir ? "-" : `${length}`).padStart(COLUMN)} ${at}${isDir ? "/" : ""}\n`);
      if (isDir && left > 1) below(at, left - 1);
    }
  };
  const listed = (path: string): Dir[] => {
    try {
      return sys.readdir(path).sort((a, b) => (a.name < b.name ? -1 : 1));
    } catch (thrown) {
      complain(`tree: ${toErr(thrown).message}\n`);
      return [];
    }
  };

  below(words[0] ?? sys.getcwd(), depth);
  print(`${count.files} files, ${count.directories} directories, ${count.bytes} bytes\n`);
});
