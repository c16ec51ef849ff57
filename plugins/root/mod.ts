/**
 * root: the empty directories that a name space begins with, for mounts to go on.
 *
 * Layer: a plugin. Nothing in it changes while it runs; what an image adds are the options. In `/n` every name is an
 * empty directory once it is asked for, so that anything can be mounted there (mntgen(4)). The manual page is root.md.
 */

import { definePlugin, type Described, dir, dynamic, Err, tree } from "../../core/plugin/author.ts";
import type { Kernel } from "../../core/kernel.ts";

/** Directories that every system has. */
const DIRS = ["bin", "dev", "env", "fd", "lib", "mnt", "n/host", "net", "proc", "srv", "sys", "tmp", "usr"];

interface Folder {
  [name: string]: Folder | string;
}

export default definePlugin({
  start(ctx) {
    const { dirs = [], files = {} } = ctx.options as { dirs?: string[]; files?: Record<string, string> };
    const root: Folder = Object.create(null);
    for (const path of [...DIRS, ...dirs]) folderAt(root, names(path));
    for (const [path, text] of Object.entries(files)) {
      const above = names(path), name = above.pop();
      if (name === undefined) throw new Err("EISDIR", `root: ${JSON.stringify(path)} is no file's path`);
      const folder = folderAt(root, above);
      if (name in folder) throw new Err("EEXIST", `root: ${path} is there twice`);
      folder[name] = text;
    }
    return tree({
      ...root as Record<string, Described>,
      n: generated(root.n as Folder, ctx.kernel as Kernel | undefined),
    }, ctx);
  },
});

/** The folder, and an empty directory of every other name; those that the first proc has something on are listed. */
function generated(folder: Folder, kernel: Kernel | undefined): Described {
  const isName = (name: string) => !name.startsWith(".");
  const mounted = () => kernel?.procs.get(1)?.pgrp.mountPoints() ?? [];
  return dynamic({
    list: () =>
      new Set([...Object.keys(folder), ...mounted().flatMap((path) => /^\/n\/([^/]+)$/.exec(path)?.[1] ?? [])]),
    get: (name) => folder[name] as Described ?? (isName(name) ? dir({}) : undefined),
  });
}

function names(path: string): string[] {
  return path.split("/").filter((name) => name !== "");
}

/** The folder at a path, made if it is not there. */
function folderAt(root: Folder, path: string[]): Folder {
  let at = root;
  for (const name of path) {
    const next = at[name] ??= Object.create(null) as Folder;
    if (typeof next === "string") throw new Err("ENOTDIR", `root: ${path.join("/")}: ${name} is a file`);
    at = next;
  }
  return at;
}
