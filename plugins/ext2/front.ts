/**
 * Front: what the plugin serves: its control files, and each volume as a tree of its own.
 *
 * Layer: plugins/ext2, over volumes.ts and a `tree()` for the control files. `#ext2` is the control files, `#ext2.NAME` the
 * volume of that name. A Chan of the front holds one of the Dev behind it; that is all that it adds. A volume that is gone
 * answers ESTALE.
 */

import { Chan, type Create, Dev, type Req, type User, type Walk } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import type { Dir, Dirent, MaybePromise, Qid, Statfs, U64, Wstat } from "../../core/p9/types.ts";
import { then } from "../../core/tree_node.ts";
import type { OpenVolume, Volumes } from "./volumes.ts";

/** What a fid holds: the Chan behind it, and the volume that it is of (null: a control file). */
export interface Behind {
  chan: Chan;
  volume: OpenVolume | null;
}

export class Front extends Dev<Behind> {
  readonly #control: Dev;
  readonly #volumes: Volumes;

  constructor(override readonly name: string, control: Dev, volumes: Volumes) {
    super();
    this.#control = control;
    this.#volumes = volumes;
  }

  attach(user: User, aname: string, req: Req): MaybePromise<Chan<Behind>> {
    const name = aname.replace(/^\/|\/$/g, "");
    const volume = name === "" ? null : this.#volumes.get(name), dev: Dev = volume?.dev ?? this.#control;
    return then(dev.attach(user, "", req), (chan) => this.#wrap(chan, volume));
  }

  walk(c: Chan<Behind>, names: string[], req: Req): MaybePromise<Walk<Behind>> {
    const chan = this.#behind(c);
    return then(chan.dev.walk(chan, names, req), ({ qids, chan: found }) => ({
      qids,
      chan: found && this.#wrap(found, c.aux.volume),
    }));
  }

  open(c: Chan<Behind>, mode: number, req: Req): MaybePromise<Chan<Behind>> {
    const chan = this.#behind(c);
    return then(chan.dev.open(chan, mode, req), (opened) => this.#moved(c, opened));
  }

  read(c: Chan<Behind>, dst: Uint8Array, offset: number, req: Req): number | MaybePromise<Uint8Array> {
    const chan = this.#behind(c);
    return chan.dev.read(chan, dst, offset, req);
  }

  override write(c: Chan<Behind>, data: Uint8Array, offset: number, req: Req): MaybePromise<number> {
    const chan = this.#behind(c);
    return chan.dev.write(chan, data, offset, req);
  }

  override readdir(c: Chan<Behind>, cookie: U64, space: number, stats: boolean, req: Req): MaybePromise<Dirent[]> {
    const chan = this.#behind(c);
    return chan.dev.readdir(chan, cookie, space, stats, req);
  }

  stat(c: Chan<Behind>, req: Req): MaybePromise<Dir> {
    const chan = this.#behind(c);
    return chan.dev.stat(chan, req);
  }

  /** A volume that is gone has let go of everything. */
  override clunk(c: Chan<Behind>): MaybePromise<void> {
    const { chan, volume } = c.aux;
    return volume?.gone ? undefined : chan.dev.clunk(chan);
  }

  override create(c: Chan<Behind>, what: Create, req: Req): MaybePromise<Chan<Behind>> {
    const chan = this.#behind(c);
    return then(chan.dev.create(chan, what, req), (made) => this.#moved(c, made));
  }

  override remove(c: Chan<Behind>, req: Req): MaybePromise<void> {
    const chan = this.#behind(c);
    return chan.dev.remove(chan, req);
  }

  override wstat(c: Chan<Behind>, w: Wstat, req: Req): MaybePromise<void> {
    const chan = this.#behind(c);
    return chan.dev.wstat(chan, w, req);
  }

  override rename(c: Chan<Behind>, dir: Chan<Behind>, name: string, req: Req): MaybePromise<void> {
    const [chan, to] = this.#both(c, dir);
    return chan.dev.rename(chan, to, name, req);
  }

  override link(c: Chan<Behind>, dir: Chan<Behind>, name: string, req: Req): MaybePromise<void> {
    const [chan, to] = this.#both(c, dir);
    return chan.dev.link(chan, to, name, req);
  }

  override symlink(c: Chan<Behind>, name: string, target: string, ngid: number, req: Req): MaybePromise<Qid> {
    const chan = this.#behind(c);
    return chan.dev.symlink(chan, name, target, ngid, req);
  }

  override readlink(c: Chan<Behind>, req: Req): MaybePromise<string> {
    const chan = this.#behind(c);
    return chan.dev.readlink(chan, req);
  }

  override mknod(
    c: Chan<Behind>,
    name: string,
    perm: number,
    ext: string,
    ngid: number,
    req: Req,
  ): MaybePromise<Qid> {
    const chan = this.#behind(c);
    return chan.dev.mknod(chan, name, perm, ext, ngid, req);
  }

  override statfs(c: Chan<Behind>, req: Req): MaybePromise<Statfs> {
    const chan = this.#behind(c);
    return chan.dev.statfs(chan, req);
  }

  override fsync(c: Chan<Behind>, dataOnly: boolean, req: Req): MaybePromise<void> {
    const chan = this.#behind(c);
    return chan.dev.fsync(chan, dataOnly, req);
  }

  override getxattr(c: Chan<Behind>, name: string, req: Req): MaybePromise<Uint8Array> {
    const chan = this.#behind(c);
    return chan.dev.getxattr(chan, name, req);
  }

  override listxattr(c: Chan<Behind>, req: Req): MaybePromise<string[]> {
    const chan = this.#behind(c);
    return chan.dev.listxattr(chan, req);
  }

  override setxattr(
    c: Chan<Behind>,
    name: string,
    value: Uint8Array | null,
    flags: number,
    req: Req,
  ): MaybePromise<void> {
    const chan = this.#behind(c);
    return chan.dev.setxattr(chan, name, value, flags, req);
  }

  #wrap(chan: Chan, volume: OpenVolume | null): Chan<Behind> {
    return new Chan<Behind>(this, chan.qid, { chan, volume }, chan.user);
  }

  /** The Chan behind `c`. ESTALE when its volume is gone. */
  #behind(c: Chan<Behind>): Chan {
    const { chan, volume } = c.aux;
    if (volume?.gone) throw volume.gone;
    return chan;
  }

  #both(c: Chan<Behind>, dir: Chan<Behind>): [Chan, Chan] {
    const [chan, to] = [this.#behind(c), this.#behind(dir)];
    if (chan.dev !== to.dev) throw new Err("EXDEV");
    return [chan, to];
  }

  /** `c` after an open or create: the Chan behind it may be another. */
  #moved(c: Chan<Behind>, chan: Chan): Chan<Behind> {
    c.aux.chan = chan;
    c.qid = chan.qid;
    c.mode = chan.mode;
    return c;
  }
}
