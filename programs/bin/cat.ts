/**
 * cat: files, or file 0, to file 1. The manual page is man/cat.md.
 *
 * Layer: programs. For `listen`, and where the console's own command does not reach.
 */

import type { Program } from "ring9/proc";
import { defineTool, writeAll } from "../lib/tool.ts";

const ROOM_BYTES = 64 * 1024;

export default defineTool({
  usage: "cat [file...]",
  words: [0, Infinity],
  run(tool) {
    if (tool.words.length === 0) copy(tool, 0);
    for (const path of tool.words) {
      const fd = tool.sys.open(path);
      copy(tool, fd);
      tool.sys.close(fd);
    }
  },
});

function copy(program: Program, fd: number): void {
  const room = new Uint8Array(ROOM_BYTES);
  for (let count; (count = program.sys.read(fd, room)) > 0;) writeAll(program, 1, room.subarray(0, count));
}
