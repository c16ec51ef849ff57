/**
 * Front: what the plugin serves: its control files, and each volume as a tree of its own.
 *
 * Layer: plugins/ext2, over volumes.ts and a `tree()` for the control files. `#ext2` is the control files, `#ext2.NAME` the
 * volume of that name. A Chan of the front holds one of the Dev behind it; that is all that it adds. A volume that is gone
 * answers ESTALE.
 */

import { Chan, type Create, Dev, type Req, type User, type Walk } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import type { Dir, Dirent, Flock, MaybePromise, Qid, Statfs, U64, Wstat } from "../../core/p9/types.ts";
import { then } from "../../core/tree_node.ts";
import type { Source } from "./source.ts";
import { adopt, save, savedChans, savedWaits, type VolumeState, type Wait } from "./state.ts";
import type { OpenVolume, Volumes } from "./volumes.ts";

/** What a fid holds: the Chan behind it, and the volume that it is of (null: a control file). */
export interface Behind {
  chan: Chan;
  volume: OpenVolume | null;
}

/** The version that `save` writes. */
export const PLUGIN_STATE_VERSION = 2;

/** All that another instance needs to go on: plain data. */
export interface PluginState {
  version: number;
  volumes: { source: Source; firstId: number; firstWait: number; state: VolumeState }[];
}

/** A state, and what the fids and the requests for locks that wait are called in it. */
export interface Saved {
  state: PluginState;
  ids: Map<Chan, number>;
  waits: Map<Req, number>;
}

/** What goes on, by the numbers that `Saved` has. */
export interface Resumed {
  chans: Map<number, Chan<Behind>>;
  waits: Map<number, Wait>;
}

export class Front extends Dev<Behind> {
  readonly #control: Dev;
  readonly #empty: Dev;
  readonly #volumes: Volumes;
  readonly #chans = new Set<Chan<Behind>>();

  /** `empty` is what an optional volume is that could not be opened. */
  constructor(override readonly name: string, trees: { control: Dev; empty: Dev }, volumes: Volumes) {
    super();
    this.#control = trees.control;
    this.#empty = trees.empty;
    this.#volumes = volumes;
  }

  attach(user: User, aname: string, req: Req): MaybePromise<Chan<Behind>> {
    const name = aname.replace(/^\/|\/$/g, "");
    const isAbsent = this.#volumes.absent.has(name), volume = name === "" || isAbsent ? null : this.#volumes.get(name);
    const dev = volume?.dev ?? (isAbsent ? this.#empty : this.#control);
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
    this.#chans.delete(c);
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

  override lock(c: Chan<Behind>, lock: Flock, req: Req): MaybePromise<number> | undefined {
    const chan = this.#behind(c);
    return chan.dev.lock(chan, lock, req);
  }

  override getlock(c: Chan<Behind>, lock: Flock, req: Req): MaybePromise<Flock> | undefined {
    const chan = this.#behind(c);
    return chan.dev.getlock(chan, lock, req);
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

  /**
   * Hands all volumes over: every change is on the disks, which are let go. Fids of control files have no number. From now
   * on this instance answers ESTALE, also to who waits. When a disk fails, it throws and lets none go.
   */
  async save(): Promise<Saved> {
    const state: PluginState = { version: PLUGIN_STATE_VERSION, volumes: [] };
    const numbers = new Map<Chan, number>(), waits = new Map<Req, number>(), volumes = this.#volumes.list();
    for (const { dev, source } of volumes) {
      const firstId = numbers.size, firstWait = waits.size, saved = await save(dev);
      savedChans(dev).forEach((chan, i) => numbers.set(chan, firstId + i));
      savedWaits(dev).forEach((req, i) => waits.set(req, firstWait + i));
      state.volumes.push({ source, firstId, firstWait, state: saved });
    }
    for (const volume of volumes) await this.#volumes.handOver(volume);
    const known = [...this.#chans].filter((c) => numbers.has(c.aux.chan));
    return { state, ids: new Map(known.map((c) => [c, numbers.get(c.aux.chan)!])), waits };
  }

  /** Goes on from a state: opens its disks, and answers its fids and waits. All of it, or nothing. */
  async adopt(state: PluginState): Promise<Resumed> {
    if (state.version !== PLUGIN_STATE_VERSION) {
      throw new Err("EINVAL", `a state of version ${state.version} is not known`);
    }
    const resumed: Resumed = { chans: new Map(), waits: new Map() }, opened: OpenVolume[] = [];
    try {
      for (const { source, firstId, firstWait, state: saved } of state.volumes) {
        const volume = await this.#volumes.open(source, { state: saved });
        opened.push(volume);
        const { chans, waits } = await adopt(volume.dev, saved);
        for (const [id, chan] of chans) resumed.chans.set(firstId + id, this.#wrap(chan, volume));
        waits.forEach((wait, i) => resumed.waits.set(firstWait + i, wait));
      }
    } catch (thrown) {
      for (const volume of opened) await this.#volumes.handOver(volume);
      throw thrown;
    }
    return resumed;
  }

  #wrap(chan: Chan, volume: OpenVolume | null): Chan<Behind> {
    const c = new Chan<Behind>(this, chan.qid, { chan, volume }, chan.user);
    c.mode = chan.mode;
    this.#chans.add(c);
    return c;
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
