/**
 * Ext2: an ext2, ext3 or ext4 file system over a block port, by inode numbers.
 *
 * Layer: fs/ext2, the front. What a caller needs is here and in mkfs.ts; dev.ts serves it as a tree of files.
 *
 * What holds always: every operation answers at once where the port does, else with a promise. An operation that throws
 * has changed nothing (a long write may have been done in part, and says how far). Changes are in memory until `sync`,
 * or until much has gathered; the order in which they reach the disk is commit.ts's. Permissions are the caller's to
 * check. Whoever keeps a file without a name `hold`s it first, and `release`s it later.
 *
 * What it does not do: write inline data, encrypted or clustered volumes, and others: `whyReadOnly` says why. A journal
 * that is in use is recovered first; for who only reads it is laid over the disk in memory (journal.ts).
 */

import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { decodeUtf8 } from "../../core/p9/utf8.ts";
import type { BlockPort } from "../block_port.ts";
import { checkSet, resize, type SetAttr, setAttributes, type Stat, statOf, targetOf } from "./attr.ts";
import { mapRun } from "./blockmap.ts";
import { Check, type Report } from "./check.ts";
import { commit, isDirty, markClean } from "./commit.ts";
import { type Entry, list, lookup } from "./dir.ts";
import { readFile, shrink, stamp, timeNow, WRITE_STEP_BYTES, writeFile } from "./file.ts";
import { loadGroups } from "./group.ts";
import { ATIME, CRTIME, type Inode, type Time } from "./inode.ts";
import { Journal, OverlayPort } from "./journal.ts";
import { COMPAT, ERROR_FS, FL_APPEND, FL_IMMUTABLE, INCOMPAT, ROOT_INO, SB, SUPER_OFFSET, VALID_FS } from "./layout.ts";
import { canReserveLog, findLog, releaseLog, reserveLog } from "./log.ts";
import { link, type Make, make, release, type Rename, rename, rmdir, unlink } from "./names.ts";
import { finish, replay } from "./recover.ts";
import { parseSuperblock, whyReadOnly } from "./superblock.ts";
import { Volume, type VolumeOptions } from "./volume.ts";
import { getXattr, listXattrs, setXattr } from "./xattr.ts";

export type { Entry, Inode, Make, Report, SetAttr, Stat, Time, Volume };

/**
 * Runs inside an operation before anything else: throws where the caller's permissions forbid it, and may change what goes
 * with it (`vol.touch` first). As the operation may run several times, it leaves nothing of its own behind but by
 * `vol.tx.after`, which runs at the moment at which the operation has succeeded.
 */
export type Guard = (vol: Volume) => void;

/** `write` at this offset is at the file's end. */
export const AT_END = -1;

/** Where a write goes, and for whom. */
interface WriteHow {
  offset: number;
  uid: number;
  guard?: Guard;
}

/** What statfs tells. */
export interface Usage {
  blockSize: number;
  blocks: number;
  freeBlocks: number;
  /** Free to all, not only to root. */
  availableBlocks: number;
  inodes: number;
  freeInodes: number;
}

/** `next` of the value, at once where it is there. */
function chain<T, U>(value: MaybePromise<T>, next: (value: T) => MaybePromise<U>): MaybePromise<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

export class Ext2 {
  readonly root = ROOT_INO;
  readonly #vol: Volume;
  #wasClean: boolean;

  private constructor(vol: Volume) {
    this.#vol = vol;
    vol.commit = () => commit(vol);
    this.#wasClean = vol.resumed || (vol.sb.view.getUint16(SB.state, true) & VALID_FS) !== 0;
  }

  /** Opens a volume. EINVAL when there is none, EOPNOTSUPP for features that are not known, EIO for damage. */
  static open(port: BlockPort, options: VolumeOptions): MaybePromise<Ext2> {
    return chain(openVolume(port, options), (vol) => {
      if (!(vol.sb.incompat & INCOMPAT.needs_recovery) || !(vol.sb.compat & COMPAT.has_journal)) {
        return new Ext2(vol).#start();
      }
      const journal = new Journal(vol);
      return chain(vol.read(() => journal.run()), () => {
        if (vol.readOnly === null) return recovered(port, vol, journal, options);
        const replayed = new OverlayPort(port, journal.blocks, vol.blockSize);
        return chain(openVolume(replayed, options), (again) => new Ext2(again).#start());
      });
    });
  }

  #start(): MaybePromise<Ext2> {
    const vol = this.#vol;
    return chain(
      vol.read(() => {
        vol.cache.get(vol.blockSize === 1024 ? 1 : 0).pins++;
        if (!vol.inode(ROOT_INO).isDir) throw vol.damage("the root is no directory");
        if (vol.readOnly === null) this.#findLog();
      }),
      () => (vol.readOnly === null ? chain(this.#orphans(), () => this) : this),
    );
  }

  /** A volume whose journal cannot be written is read only, and says why. */
  #findLog(): void {
    const vol = this.#vol;
    try {
      vol.log = findLog(vol);
    } catch (thrown) {
      if (!(thrown instanceof Err) || thrown.code !== "EOPNOTSUPP") throw thrown;
      vol.readOnly = thrown.message;
    }
  }

  /** Gives back the files that another driver left on its list of those without a name. */
  #orphans(left = this.#vol.sb.inodesCount): MaybePromise<void> {
    const vol = this.#vol, { view } = vol.sb, ino = view.getUint32(SB.lastOrphan, true);
    if (ino === 0) return;
    const done = vol.change(() => {
      const inode = vol.inode(ino), next = inode.dtime;
      if (ino < vol.sb.firstIno || left === 0) throw vol.damage("bad list of orphans");
      if (!(inode.links === 0 ? release(vol, inode) : shrink(vol, inode))) return;
      vol.touch(inode);
      inode.dtime = inode.links === 0 ? Math.max(1, Math.floor(vol.now() / 1000)) : 0;
      view.setUint32(SB.lastOrphan, next, true);
      vol.superDirty = true;
    });
    return chain(done, () => this.#orphans(left - 1));
  }

  /** Why nothing may be written (features, a read-only disk, damage), or null. */
  get whyReadOnly(): string | null {
    return this.#vol.readOnly;
  }

  /** True when the volume was not cleanly closed the last time: e2fsck should look at it. */
  get wasUnclean(): boolean {
    return !this.#wasClean;
  }

  /** How often damage was met. */
  get damageCount(): number {
    return this.#vol.damageCount;
  }

  /** 16 bytes. */
  get uuid(): Uint8Array {
    return this.#vol.sb.raw.slice(SB.uuid, SB.uuid + 16);
  }

  get label(): string {
    const raw = this.#vol.sb.raw, end = raw.indexOf(0, SB.volumeName);
    return decodeUtf8(raw, SB.volumeName, Math.min(end < 0 ? 16 : end - SB.volumeName, 16));
  }

  /** Whether the volume was cleanly closed before, and nothing wrong was seen since: `close` may say so again. */
  get isClean(): boolean {
    return this.#wasClean && !this.#vol.damaged;
  }

  /** Whether something is not on the disk yet. */
  get isDirty(): boolean {
    return isDirty(this.#vol);
  }

  // Reading

  /**
   * Runs `op` over the volume's parts: synchronous code that changes nothing on it. It runs again, from its start, after each
   * wait for the disk, so it does whatever it does elsewhere at its end.
   */
  look<T>(op: (vol: Volume) => T): MaybePromise<T> {
    return this.#vol.read(() => op(this.#vol));
  }

  /** The inode of `name` in `dir`. ENOENT, ENOTDIR. */
  lookup(dir: number, name: string): MaybePromise<number> {
    const vol = this.#vol;
    return vol.read(() => {
      const ino = lookup(vol, this.#dir(dir), name);
      if (ino === 0) throw new Err("ENOENT");
      return ino;
    });
  }

  /** At most `max` entries of a directory from `cookie` on: 0, or the `next` of an entry. */
  readdir(dir: number, cookie: number, max: number): MaybePromise<Entry[]> {
    const vol = this.#vol;
    return vol.read(() => list(vol, this.#dir(dir), cookie, max));
  }

  stat(ino: number): MaybePromise<Stat> {
    return this.#vol.read(() => statOf(this.#vol, this.#vol.inode(ino)));
  }

  /** When the file was made, where the inode is large enough to know: else 0. */
  birth(ino: number): MaybePromise<Time> {
    return this.#vol.read(() => {
      const inode = this.#vol.inode(ino);
      if (inode.extraIsize < CRTIME[1] + 4 - 128) return { sec: 0, nsec: 0 };
      return { sec: inode.seconds(CRTIME), nsec: inode.nanoseconds(CRTIME) };
    });
  }

  /** Reads into `dst` from `offset`: how many bytes, 0 at the end. `dst` is filled by when the answer is there. */
  read(ino: number, dst: Uint8Array, offset: number): MaybePromise<number> {
    const vol = this.#vol;
    return vol.read(() => {
      const inode = vol.inode(ino);
      if (inode.isDir) throw new Err("EISDIR");
      if (!inode.isFile) throw new Err("EINVAL");
      return readFile(vol, inode, dst, offset);
    });
  }

  /** A symlink's target. EINVAL for what is none. */
  readlink(ino: number): MaybePromise<string> {
    const vol = this.#vol;
    return vol.read(() => {
      const inode = vol.inode(ino);
      if (!inode.isSymlink) throw new Err("EINVAL");
      return targetOf(vol, inode);
    });
  }

  listxattr(ino: number): MaybePromise<string[]> {
    return this.#vol.read(() => listXattrs(this.#vol, this.#vol.inode(ino)));
  }

  /** An attribute's value. ENODATA. */
  getxattr(ino: number, name: string): MaybePromise<Uint8Array> {
    return this.#vol.read(() => getXattr(this.#vol, this.#vol.inode(ino), name));
  }

  /** The first byte at or after `offset` that is stored (`data`) or that is not (a hole); -1 when there is none. */
  seek(ino: number, offset: number, data: boolean): MaybePromise<number> {
    const vol = this.#vol;
    return vol.read(() => {
      const inode = vol.inode(ino), { blockSize } = vol;
      if (offset >= inode.size) return -1;
      if (inode.hasInlineData) return data ? offset : inode.size;
      for (let at = offset; at < inode.size;) {
        const lblk = Math.floor(at / blockSize);
        mapRun(vol, inode, lblk, 0xffffffff - lblk);
        if ((vol.runBlock !== 0) === data) return at;
        at = (lblk + vol.runCount) * blockSize;
      }
      return data ? -1 : inode.size;
    });
  }

  statfs(): Usage {
    const vol = this.#vol;
    return {
      blockSize: vol.blockSize,
      blocks: vol.sb.blocksCount,
      freeBlocks: vol.freeBlocks,
      availableBlocks: Math.max(0, vol.freeBlocks - vol.reservedBlocks),
      inodes: vol.sb.inodesCount,
      freeInodes: vol.freeInodes,
    };
  }

  // Changing

  /** Makes a file of any type in `dir`; answers its inode. */
  make(dir: number, name: string, what: Make, guard?: Guard): MaybePromise<number> {
    const vol = this.#vol;
    return this.#change(what.uid, () => make(vol, vol.inode(dir), name, what), guard);
  }

  link(ino: number, dir: number, name: string, guard?: Guard): MaybePromise<void> {
    const vol = this.#vol;
    return this.#change(0, () => link(vol, vol.inode(ino), vol.inode(dir), name), guard);
  }

  unlink(dir: number, name: string, guard?: Guard): MaybePromise<void> {
    const vol = this.#vol;
    return chain(this.#change(0, () => unlink(vol, vol.inode(dir), name), guard), (inode) => this.#reap(inode));
  }

  rmdir(dir: number, name: string, guard?: Guard): MaybePromise<void> {
    const vol = this.#vol;
    return chain(this.#change(0, () => rmdir(vol, vol.inode(dir), name), guard), (inode) => this.#reap(inode));
  }

  rename(
    what: { dir: number; name: string; toDir: number; toName: string; noReplace?: boolean },
    guard?: Guard,
  ): MaybePromise<void> {
    const vol = this.#vol;
    const op = () => {
      const ends: Rename = {
        from: vol.inode(what.dir),
        name: what.name,
        to: vol.inode(what.toDir),
        newName: what.toName,
        noReplace: what.noReplace,
      };
      const done = rename(vol, ends);
      if (done.movedDir && reserveLog(vol) && !vol.batch.moved) {
        const { batch } = vol;
        batch.moved = true;
        vol.tx.undo(() => batch.moved = false);
      }
      return done;
    };
    const ready = vol.batch.parents.has(what.toDir) && !canReserveLog(vol) ? this.sync() : undefined;
    return chain(
      chain(ready, () => this.#change(0, op, guard)),
      ({ replaced, movedDir }) => {
        const done = replaced ? this.#reap(replaced) : undefined;
        return movedDir && !vol.log ? chain(done, () => this.sync()) : done;
      },
    );
  }

  /**
   * Writes `src` at `offset` (or AT_END) as `uid` (who, if not root, gets no reserved blocks): how many bytes went in.
   * `src` is the caller's again when the call returns.
   */
  write(ino: number, src: Uint8Array, offset: number, uid = 0, guard?: Guard): MaybePromise<number> {
    const from = { bytes: src };
    const done = this.#writeFrom(ino, from, { offset, uid, guard });
    if (done instanceof Promise) from.bytes = src.slice();
    return done;
  }

  #writeFrom(ino: number, from: { bytes: Uint8Array }, how: WriteHow): MaybePromise<number> {
    const { length } = from.bytes, { offset } = how;
    if (length <= WRITE_STEP_BYTES) return this.#writeStep(ino, () => from.bytes, how);
    const step = (done: number): MaybePromise<number> => {
      const end = Math.min(done + WRITE_STEP_BYTES, length), at = offset === AT_END ? AT_END : offset + done;
      const wrote = this.#writeStep(ino, () => from.bytes.subarray(done, end), { ...how, offset: at });
      return chain(wrote, (count) => {
        const isShort = count < end - done;
        done += count;
        return isShort || done >= length ? done : step(done);
      });
    };
    return step(0);
  }

  #writeStep(ino: number, bytes: () => Uint8Array, how: WriteHow): MaybePromise<number> {
    const vol = this.#vol;
    return this.#change(how.uid, () => {
      const inode = vol.inode(ino), src = bytes();
      if (inode.isDir) throw new Err("EISDIR");
      if (!inode.isFile) throw new Err("EINVAL");
      const offset = how.offset === AT_END ? inode.size : how.offset;
      if (inode.flags & FL_IMMUTABLE) throw new Err("EPERM");
      if ((inode.flags & FL_APPEND) && offset !== inode.size) throw new Err("EPERM", "append only");
      return src.length === 0 ? 0 : writeFile(vol, inode, src, offset);
    }, how.guard);
  }

  /** Changes attributes; a new size may take several steps on the disk, but is one change to a reader. */
  setattr(ino: number, set: SetAttr, guard?: Guard): MaybePromise<void> {
    const vol = this.#vol;
    const done = this.#change(0, () => {
      const inode = vol.inode(ino);
      if (set.flags === undefined) checkSet(inode, set);
      vol.touch(inode);
      const all = set.size === undefined || resize(vol, inode, set.size);
      setAttributes(vol, inode, set);
      return all;
    }, guard);
    return chain(done, (all) => (all ? undefined : this.#shrink(ino)));
  }

  #shrink(ino: number): MaybePromise<void> {
    const vol = this.#vol;
    return chain(vol.change(() => shrink(vol, vol.inode(ino))), (done) => (done ? undefined : this.#shrink(ino)));
  }

  /** Sets an attribute, or removes it (null). `flags`: 1 must not exist, 2 must exist. */
  setxattr(
    ino: number,
    name: string,
    value: Uint8Array | null,
    flags = 0,
    guard?: Guard,
  ): MaybePromise<void> {
    const vol = this.#vol;
    return this.#change(0, () => {
      const inode = vol.inode(ino);
      if (inode.flags & (FL_IMMUTABLE | FL_APPEND)) throw new Err("EPERM");
      vol.touch(inode);
      setXattr(vol, inode, name, value, flags);
      stamp(vol, inode, false);
    }, guard);
  }

  /** Notes that a file was read. */
  accessed(ino: number): MaybePromise<void> {
    const vol = this.#vol;
    return this.#change(0, () => {
      const inode = vol.inode(ino), { sec, nsec } = timeNow(vol);
      vol.touch(inode);
      inode.setTime(ATIME, sec, nsec);
    });
  }

  /** Keeps a file alive, also when its last name goes. */
  hold(ino: number): MaybePromise<void> {
    return this.#vol.read(() => {
      const inode = this.#vol.inode(ino);
      inode.opens++;
    });
  }

  /** Lets go of it. */
  release(ino: number): MaybePromise<void> {
    const inode = this.#vol.inodes.get(ino);
    if (!inode || inode.opens === 0) throw new Err("EBADF");
    inode.opens--;
    return this.#reap(inode);
  }

  /** Gives a dead file back, in as many steps as it takes. */
  #reap(inode: Inode): MaybePromise<void> {
    const vol = this.#vol;
    if (inode.links > 0 || inode.opens > 0 || vol.readOnly !== null || vol.batch.freedInodes.has(inode.ino)) return;
    return chain(vol.change(() => release(vol, inode)), (done) => (done ? undefined : this.#reap(inode)));
  }

  /** Whether the volume is sound; a report, no repair. Reads all inodes and directories. */
  check(): MaybePromise<Report> {
    return this.#check(new Check(this.#vol));
  }

  /**
   * Mends what a power cut leaves: names of files that are not there, counts, bitmaps; then the volume counts as clean.
   * Nothing may be open. Where anything else is wrong it changes nothing. Answers what was found, and what is left.
   */
  async repair(): Promise<{ found: Report; left: Report }> {
    await this.sync();
    const check = new Check(this.#vol), found = await this.#check(check);
    if (found.unsafe > 0) return { found, left: found };
    for (const fix of check.fixes) await this.#vol.change(fix);
    await this.sync();
    const left = found.problems.length > 0 ? await this.check() : found;
    if (left.problems.length === 0) this.#mended();
    return { found, left };
  }

  #mended(): void {
    this.#wasClean = true;
    this.#vol.superDirty = true;
    const { view } = this.#vol.sb;
    view.setUint16(SB.state, view.getUint16(SB.state, true) & ~ERROR_FS, true);
    view.setUint32(SB.lastCheck, Math.floor(this.#vol.now() / 1000), true);
  }

  #check(check: Check): MaybePromise<Report> {
    for (;;) {
      const done = this.#vol.read(() => check.step());
      if (done instanceof Promise) return done.then((all) => all ? check.report : this.#check(check));
      if (done) return check.report;
    }
  }

  /** Brings everything to stable storage. */
  sync(): MaybePromise<void> {
    const vol = this.#vol, { moved } = vol.batch;
    return chain(vol.commit(), () => (moved || vol.needsLog ? undefined : this.#giveBack()));
  }

  /** Gives a passing log back, when nothing has needed it for a while. */
  #giveBack(): MaybePromise<void> {
    const vol = this.#vol;
    if (!vol.log?.passing || vol.readOnly !== null) return;
    return chain(vol.change(() => releaseLog(vol)), () => vol.commit());
  }

  /** Brings everything to stable storage, and marks the volume as clean. It is not to be used any more. */
  close(): MaybePromise<void> {
    const vol = this.#vol;
    if (vol.readOnly !== null && !vol.marked) return;
    const dead = [...vol.inodes.values()].filter((inode) => inode.opens > 0 && inode.links === 0);
    for (const inode of vol.inodes.values()) inode.opens = 0;
    const reaped = dead.reduce<MaybePromise<void>>(
      (before, inode) => chain(before, () => this.#reap(inode)),
      undefined,
    );
    return chain(
      chain(chain(chain(reaped, () => this.sync()), () => this.#giveBack()), () => this.sync()),
      () => markClean(vol, this.#wasClean),
    );
  }

  #dir(ino: number): Inode {
    const dir = this.#vol.inode(ino);
    if (!dir.isDir) throw new Err("ENOTDIR");
    return dir;
  }

  #change<T>(uid: number, op: () => T, guard?: Guard): MaybePromise<T> {
    const vol = this.#vol;
    return vol.change(() => {
      vol.privileged = uid === 0 || uid === vol.sb.view.getUint16(SB.defResuid, true);
      guard?.(vol);
      if (vol.needsLog) reserveLog(vol);
      return op();
    });
  }
}

/** Opens a volume whose journal was read: brings that to the disk first. */
function recovered(port: BlockPort, vol: Volume, journal: Journal, options: VolumeOptions): MaybePromise<Ext2> {
  const emptied = chain(
    chain(replay(port, vol, journal), () => openVolume(port, options)),
    (again) => finish(port, again, journal.next),
  );
  return chain(emptied, () => Ext2.open(port, options));
}

/** Reads and verifies superblock and group descriptors. */
function openVolume(port: BlockPort, options: VolumeOptions): MaybePromise<Volume> {
  if (port.size < 2 * SUPER_OFFSET) throw new Err("EINVAL", "no ext2 file system here (the disk is too small)");
  const head = new Uint8Array(Math.min(4096, port.size - (port.size % port.sectorBytes)));
  return chain(port.read(head, 0), () => {
    const raw = head.slice(SUPER_OFFSET, 2 * SUPER_OFFSET);
    if (raw.length < SUPER_OFFSET) throw new Err("EINVAL", "no ext2 file system here");
    const sb = parseSuperblock(raw, port.size);
    if (sb.blockSize % port.sectorBytes !== 0) {
      throw new Err("EOPNOTSUPP", `ext2: blocks of ${sb.blockSize} bytes on sectors of ${port.sectorBytes}`);
    }
    return chain(loadGroups(sb, port), (groups) => {
      const disk = port.readOnly ? options.whyDisk ?? "the disk is read only" : null;
      const why = options.readOnly ? "opened so" : whyReadOnly(sb) ?? disk;
      return new Volume(port, sb, groups, why, options);
    });
  });
}
