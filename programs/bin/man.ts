/**
 * man: prints the manual page of a program or of a plugin. The manual page is man/man.md.
 *
 * Layer: programs. Pages of programs are in `/lib/man`, those of plugins in `/sys/plugins/NAME/man`.
 */

import { readTextOf } from "ring9/net";
import { Err } from "ring9/proc";
import { defineTool, type Running } from "../lib/tool.ts";

const PAGES = "/lib/man", PLUGINS = "/sys/plugins";

export default defineTool({
  usage: "man [name]",
  words: [0, 1],
  async run(tool) {
    const { words: [name], print, files } = tool;
    if (name === undefined) return print(await contents(tool));
    for (const path of [`${PAGES}/${name}.md`, `${PLUGINS}/${name}/man`]) {
      const text = await readTextOf(files, path).catch(() => "");
      if (text !== "") return print(`${text}\n`);
    }
    throw new Err("ENOENT", `${name}: no manual page`);
  },
});

/** The names of all pages, programs first. */
async function contents({ async }: Running): Promise<string> {
  const programs = (await async.readdir(PAGES)).map(({ name }) => name.replace(/\.md$/, ""));
  const plugins = (await async.readdir(PLUGINS)).filter(({ name }) => name !== "ctl").map(({ name }) => name);
  return `programs: ${programs.sort().join(" ")}\nplugins: ${plugins.sort().join(" ")}\n`;
}
