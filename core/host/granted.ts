/**
 * Granted: the files of the name space that a plugin in an isolate may use.
 *
 * Layer: core/host, in the kernel isolate; plugin_host.ts gives it to those whose manifest names trees (`permissions.files`),
 * who meet it as `ctx.files`. They are the first proc's, seen by the hostowner. What holds always: nobody attaches to
 * anything but a tree that was named, or something in it, and `..` leads out of none.
 */

import { type Chan, Dev, type Req, type User } from "../dev.ts";
import { Err, excerpt, PATH_CHARS } from "../err.ts";
import { Export } from "../export.ts";
import type { Kernel } from "../kernel.ts";
import { splitPath } from "../path.ts";
import { Srv } from "../p9/srv.ts";
import type { MaybePromise } from "../p9/types.ts";
import type { Transport } from "../p9/transport.ts";

/** What serves the trees to a plugin on a transport. */
export function serveGranted(kernel: Kernel, name: string, trees: string[]): (transport: Transport) => void {
  const limits = { handshakeMs: 0, messageMs: 0 }, log = (text: string) => kernel.log.print(`${name}: files: ${text}`);
  const srv = new Srv(new Granted(kernel, trees), { limits, user: () => kernel.hostowner, log });
  return (transport) => void srv.serve(transport);
}

/** Attaches; what was attached is the Export's. */
class Granted extends Dev<Chan> {
  readonly name = "granted";
  readonly #kernel: Kernel;
  readonly #trees: string[][];
  #files: Export | undefined;

  constructor(kernel: Kernel, trees: string[]) {
    super();
    this.#kernel = kernel;
    this.#trees = trees.map(splitPath);
  }

  override attach(user: User, aname: string, req: Req): MaybePromise<Chan<Chan>> {
    const names = splitPath(aname), isWithin = (tree: string[]) => tree.every((name, i) => names[i] === name);
    if (!this.#trees.some(isWithin)) {
      throw new Err("EACCES", `${excerpt(aname, PATH_CHARS)} is not among the files of its manifest`);
    }
    const init = this.#kernel.procs.get(1);
    if (!init) throw new Err("ENOENT", "there is no name space yet");
    this.#files ??= new Export(init.pgrp, { name: this.name });
    return this.#files.attach(user, aname, req);
  }

  override walk(): never {
    throw elsewhere();
  }

  override open(): never {
    throw elsewhere();
  }

  override read(): never {
    throw elsewhere();
  }

  override stat(): never {
    throw elsewhere();
  }
}

/** A Chan that was attached is never asked of here. */
function elsewhere(): Err {
  return new Err("EIO", "not a file of this tree");
}
