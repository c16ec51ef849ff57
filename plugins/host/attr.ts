/**
 * What a host file's stat becomes in 9P: qid, mode, Dir.
 *
 * Layer: plugins/host, pure.
 */

import { plan9Mode, S_IFBLK, S_IFMT } from "../../core/p9/mode.ts";
import { type Dir, DMDEVICE, type Qid } from "../../core/p9/types.ts";
import type { HostStat } from "../../devices/hostfs.ts";

/** Inode numbers are kept to 37 bits, of 53, so that a qid path is a plain number. */
const INO_BITS = 2 ** 37, BIRTHS = 2 ** 12;

/** Makes qids: each file system met gets a number, so that two files of one inode number differ. */
export class HostQids {
  readonly #devices = new Map<number, number>();

  /** The path has the inode, the file system, and a hash of the birth, for an inode number is used again. */
  qid(stat: HostStat): Qid {
    let device = this.#devices.get(stat.dev);
    if (device === undefined) this.#devices.set(stat.dev, device = this.#devices.size);
    const { ino } = stat;
    const low = typeof ino === "number" ? ino % INO_BITS : Number(BigInt.asUintN(37, ino));
    const high = typeof ino === "number" ? Math.floor(ino / INO_BITS) : Number(ino >> 37n);
    const birth = (mix(stat.btime ^ mix(stat.btimeNsec)) + high) & (BIRTHS - 1);
    const path = low + INO_BITS * (birth + BIRTHS * (device & 0xf));
    return { type: plan9Mode(stat.mode) >>> 24, vers: version(stat), path };
  }
}

/** The Dir of a file. `owner` names a user number; `target` is a symlink's. */
export function hostDir(name: string, stat: HostStat, qid: Qid, owner: (id: number) => string, target: string): Dir {
  const mode = plan9Mode(stat.mode), isDevice = (mode & DMDEVICE) !== 0;
  const kind = (stat.mode & S_IFMT) === S_IFBLK ? "b" : "c";
  return {
    qid,
    name,
    mode,
    length: qid.type & 0x80 ? 0 : stat.size,
    atime: stat.atime,
    atimeNsec: stat.atimeNsec,
    mtime: stat.mtime,
    mtimeNsec: stat.mtimeNsec,
    ctime: stat.ctime,
    ctimeNsec: stat.ctimeNsec,
    uid: owner(stat.uid),
    gid: owner(stat.gid),
    muid: owner(stat.uid),
    nuid: stat.uid,
    ngid: stat.gid,
    nmuid: stat.uid,
    ext: isDevice ? `${kind} ${stat.rdevMajor} ${stat.rdevMinor}` : target,
    nlink: stat.nlink,
    rdev: isDevice ? deviceNumber(stat.rdevMajor, stat.rdevMinor) : 0,
    blksize: stat.blksize,
    blocks: stat.blocks,
  };
}

/** Changes whenever the content or the attributes do, as far as the host's clock tells. */
function version(stat: HostStat): number {
  return (mix(stat.mtime ^ mix(stat.mtimeNsec)) ^ mix(stat.ctime ^ mix(stat.ctimeNsec)) ^ stat.size) >>> 0;
}

function mix(x: number): number {
  const once = Math.imul(x ^ (x >>> 16), 0x45d9f3b);
  return once ^ (once >>> 16);
}

function deviceNumber(major: number, minor: number): number {
  return (minor & 0xfff00) * 0x1000 + ((major << 8) | (minor & 0xff));
}
