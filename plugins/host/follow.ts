/**
 * Where a symlink leads inside the tree: each name of its target is walked as a client would, so the host follows
 * nothing and `..` stops at the root.
 *
 * Layer: plugins/host, called by `dev.ts`.
 *
 * See symlink(7) and path_resolution(7) of Linux.
 */

import type { User } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import { S_IFLNK, S_IFMT } from "../../core/p9/mode.ts";
import type { HostDev } from "./dev.ts";
import type { HostNode } from "./node.ts";

const MAX_LINKS = 40;

/**
 * The file that `node` is or, as a link, leads to, with a reference for the caller. EACCES when that is outside the
 * tree, ELOOP after 40 links.
 */
export function follow(dev: HostDev, node: HostNode, user: User): HostNode {
  const { nodes } = dev;
  let at = node, links = 0;
  const names: string[] = [];
  const target = targetOf(dev, node);
  at = hold(target === null ? node : start(dev, node.parent!, target, names));
  try {
    while (names.length > 0) {
      const name = names.pop()!;
      if (name === "..") {
        if (!at.parent) throw outside();
        at = swap(dev, at, hold(at.parent));
        continue;
      }
      const next = nodes.with(at, (handle, stat) => dev.child(at, handle, stat, name, user)).node;
      const onward = targetOf(dev, next);
      if (onward === null) {
        at = swap(dev, at, next);
        continue;
      }
      nodes.release(next);
      if (++links >= MAX_LINKS) throw new Err("ELOOP");
      at = swap(dev, at, hold(start(dev, at, onward, names)));
    }
  } catch (e) {
    nodes.release(at);
    throw e;
  }
  return at;
}

/** Puts the target's names in front of those that are left (the last is next); answers where they start from. */
function start(dev: HostDev, dir: HostNode, target: string, names: string[]): HostNode {
  let path = target;
  const { rootPath } = dev, isAbsolute = target.startsWith("/");
  if (isAbsolute) {
    if (target !== rootPath && !target.startsWith(rootPath === "/" ? "/" : rootPath + "/")) throw outside();
    path = target.slice(rootPath.length);
  }
  names.push(...path.split("/").filter((name) => name !== "" && name !== ".").reverse());
  return isAbsolute ? dev.nodes.root : dir;
}

/** The target of a link; null for anything else. */
function targetOf(dev: HostDev, node: HostNode): string | null {
  if ((dev.nodes.stat(node).mode & S_IFMT) !== S_IFLNK) return null;
  return dev.nodes.with(node, (handle) => dev.fs.readlink(handle));
}

function swap(dev: HostDev, old: HostNode, now: HostNode): HostNode {
  dev.nodes.release(old);
  return now;
}

function hold(node: HostNode): HostNode {
  node.refs++;
  return node;
}

function outside(): Err {
  return new Err("EACCES", "the link leads out of the tree");
}
