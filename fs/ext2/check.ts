/**
 * check: whether a volume is sound, as fsck would see it: every block with one owner, every inode with its names, bitmaps
 * and counts that say so. It reports, and has the fixes for what can be mended without losing anything.
 *
 * Layer: fs/ext2, beside fs.ts, which runs it. It reads what is committed and what is not alike, so on a volume that is in
 * use it sees the volume as its users do; files without a name that are held open are reported.
 *
 * What holds always: it ends on any volume, after each inode and each directory was read once. Memory: a bit a block, and
 * a few bytes an inode.
 *
 * What it does not do: hash trees, extended attributes' contents, copies of the superblock. See e2fsck(8).
 */

import { Err } from "../../core/err.ts";
import { blockBitmap, inodeBitmap } from "./alloc.ts";
import { type Buf, Miss, PLAIN_BLOCK } from "./cache.ts";
import { type Entry, findPlace, list, removeEntry } from "./dir.ts";
import { walkExtents } from "./extent.ts";
import { hasBlocks } from "./file.ts";
import { isUninit } from "./group.ts";
import type { Inode } from "./inode.ts";
import { DIRECT_BLOCKS, direntType, POINTERS, RESIZE_INO, ROOT_INO, SB } from "./layout.ts";
import type { Volume } from "./volume.ts";

/** What a check found. */
export interface Report {
  /** One line each; at most MAX_PROBLEMS, the last of which then says so. */
  problems: string[];
  /** How many of them `repair` leaves alone. */
  unsafe: number;
  files: number;
  directories: number;
  /** Blocks in use, the file system's own included. */
  blocks: number;
}

const MAX_PROBLEMS = 1000;
/** Entries of a directory that are looked at in one step. */
const STEP_ENTRIES = 1000;
/** Inodes and parts of directories in one step: between steps, the cache gives memory back. */
const STEP_BUDGET = 2000;

/** An operation for `Volume.change`. */
export type Fix = () => void;

/** A run of blocks that an inode claims. */
interface Run {
  start: number;
  count: number;
}

/** A check under way. `step` is an operation for `Volume.read`: run again after a `Miss`, it goes on where it was. */
export class Check {
  /** What mends the problems that can be mended safely, in this order. */
  readonly fixes: Fix[] = [];
  readonly report: Report = { problems: [], unsafe: 0, files: 0, directories: 0, blocks: 0 };
  readonly #vol: Volume;
  readonly #used: Uint8Array;
  /** By inode: st_mode (0: unused), names found, links that the inode says, parent of a directory (0: none found). */
  readonly #modes: Uint16Array;
  readonly #names: Uint32Array;
  readonly #links: Uint16Array;
  readonly #parents: Uint32Array;
  readonly #dirs: number[] = [];
  #ino = 1;
  #dir = 0;
  #cookie = 0;
  #group = 0;
  #free = { blocks: 0, inodes: 0 };
  #stage = 0;
  #budget = 0;

  constructor(vol: Volume) {
    const { sb } = vol;
    this.#vol = vol;
    this.#used = new Uint8Array((sb.blocksCount >> 3) + 1);
    this.#modes = new Uint16Array(sb.inodesCount + 1);
    this.#names = new Uint32Array(sb.inodesCount + 1);
    this.#links = new Uint16Array(sb.inodesCount + 1);
    this.#parents = new Uint32Array(sb.inodesCount + 1);
  }

  /** Goes on for a while; true when the report is whole. */
  step(): boolean {
    const stages = [() => this.#inodes(), () => this.#directories(), () => this.#connections(), () => this.#bitmaps()];
    for (this.#budget = STEP_BUDGET; this.#stage < stages.length; this.#stage++) {
      if (!stages[this.#stage]()) return false;
    }
    return true;
  }

  /** Notes a problem; `fix` is an operation that mends it without losing anything. */
  #problem(text: string, fix?: Fix): void {
    if (fix) this.fixes.push(fix);
    else this.report.unsafe++;
    const { problems } = this.report;
    if (problems.length < MAX_PROBLEMS) problems.push(text);
    else problems[MAX_PROBLEMS - 1] = "there are more problems than are listed";
  }

  /** What `read` answers; undefined, with a problem noted, where it meets damage. */
  #look<T>(what: string, read: () => T): T | undefined {
    try {
      return read();
    } catch (thrown) {
      if (thrown instanceof Miss || !(thrown instanceof Err)) throw thrown;
      this.#problem(`${what}: ${thrown.message}`);
      return undefined;
    }
  }

  #inodes(): boolean {
    const { sb, groups } = this.#vol;
    for (; this.#ino <= sb.inodesCount; this.#ino++) {
      if (--this.#budget < 0) return false;
      const ino = this.#ino;
      if (isUninit(groups, groups.groupOfInode(ino), true)) continue;
      const inode = this.#look(`inode ${ino}`, () => this.#vol.inode(ino));
      if (!inode || inode.mode === 0 && inode.links === 0) continue;
      if (inode.links === 0 && !(ino < sb.firstIno && inode.mode !== 0 && inode.blocks > 0)) continue;
      const runs: Run[] = [];
      this.#look(`inode ${ino}`, () => collect(this.#vol, inode, runs));
      this.#claim(inode, runs);
    }
    this.#own();
    return true;
  }

  /** Takes an inode and its blocks into the account. */
  #claim(inode: Inode, runs: Run[]): void {
    const { ino } = inode, { sb, blockSize } = this.#vol;
    this.#modes[ino] = inode.mode;
    this.#links[ino] = inode.links;
    let blocks = 0;
    for (const { start, count } of runs) {
      blocks += count;
      if (ino === RESIZE_INO && !this.#vol.groups.isDataRun(start, count)) continue;
      for (let block = start; block < start + count; block++) {
        if (this.#used[block >> 3] & (1 << (block & 7))) {
          this.#problem(`block ${block} has two owners, one is inode ${ino}`);
        }
        this.#used[block >> 3] |= 1 << (block & 7);
      }
    }
    const counted = inode.hasHugeBlocks ? blocks : blocks * (blockSize / 512);
    if (ino >= sb.firstIno && sb.clusterRatio === 1 && counted !== inode.blocks) {
      this.#problem(
        `inode ${ino}: counts ${inode.blocks} sectors, has ${counted}`,
        this.#set(ino, (inode) => {
          inode.blocks = counted;
        }),
      );
    }
    if (ino !== ROOT_INO && ino < sb.firstIno) return;
    if (direntType(inode.mode) === 0) this.#problem(`inode ${ino}: mode ${inode.mode.toString(8)} is of no kind`);
    if (inode.isDir) this.#dirs.push(ino), this.report.directories++;
    else this.report.files++;
    if (inode.dtime !== 0) {
      this.#problem(
        `inode ${ino}: in use, but has a time of death`,
        this.#set(ino, (inode) => {
          inode.dtime = 0;
        }),
      );
    }
  }

  /** The file system's own blocks. */
  #own(): void {
    const { sb, groups } = this.#vol;
    for (let block = sb.firstDataBlock; block < sb.blocksCount; block++) {
      if (!groups.isDataRun(block, 1)) this.#used[block >> 3] |= 1 << (block & 7);
    }
  }

  #directories(): boolean {
    for (; this.#dir < this.#dirs.length; this.#dir++, this.#cookie = 0) {
      const ino = this.#dirs[this.#dir];
      for (;;) {
        if (--this.#budget < 0) return false;
        const entries = this.#look(
          `directory ${ino}`,
          () => list(this.#vol, this.#vol.inode(ino), this.#cookie, STEP_ENTRIES),
        );
        if (!entries || entries.length === 0) break;
        if (this.#cookie === 0) this.#dots(ino, entries);
        for (const entry of entries) this.#entry(ino, entry);
        this.#cookie = entries.at(-1)!.next;
      }
    }
    return true;
  }

  #dots(ino: number, entries: Entry[]): void {
    if (entries[0].name !== "." || entries[0].ino !== ino) {
      this.#problem(`directory ${ino}: "." is not its first entry`);
    }
    if (entries[1]?.name !== "..") this.#problem(`directory ${ino}: ".." is not its second entry`);
  }

  #set(ino: number, change: (inode: Inode) => void): Fix {
    return () => {
      const inode = this.#vol.inode(ino);
      this.#vol.touch(inode);
      change(inode);
    };
  }

  #removeName(dir: number, name: string): void {
    const vol = this.#vol, inode = vol.inode(dir), place = findPlace(vol, inode, name);
    vol.touch(inode);
    if (place >= 0) removeEntry(vol, inode, name, place);
  }

  #entry(dir: number, { name, ino, type }: Entry): void {
    const where = `directory ${dir}: "${name}"`, mode = this.#modes[ino];
    if (mode === 0 || (ino < this.#vol.sb.firstIno && ino !== ROOT_INO)) {
      return this.#problem(`${where} names the unused inode ${ino}`, () => this.#removeName(dir, name));
    }
    this.#names[ino]++;
    if (type !== 0 && type !== direntType(mode)) this.#problem(`${where} has the wrong file type`);
    if (direntType(mode) !== 2 || name === "." || name === "..") return;
    if (this.#parents[ino] !== 0 || ino === ROOT_INO) this.#problem(`${where} is a second name of a directory`);
    else this.#parents[ino] = dir;
  }

  #connections(): boolean {
    const { sb } = this.#vol;
    const apart = new Set([SB.projectQuotaIno, SB.orphanFileIno].map((at) => sb.view.getUint32(at, true)));
    if (direntType(this.#modes[ROOT_INO]) !== 2) this.#problem("the root is no directory");
    for (let ino = ROOT_INO; ino <= sb.inodesCount; ino++) {
      if (this.#modes[ino] === 0 || (ino < sb.firstIno && ino !== ROOT_INO) || apart.has(ino)) continue;
      const uncounted = direntType(this.#modes[ino]) === 2 && this.#links[ino] === 1;
      if (this.#names[ino] === 0) this.#problem(`inode ${ino} has no name`);
      else if (this.#names[ino] !== this.#links[ino] && !uncounted) {
        this.#problem(
          `inode ${ino}: counts ${this.#links[ino]} links, has ${this.#names[ino]}`,
          this.#set(ino, (inode) => {
            inode.links = this.#names[ino];
          }),
        );
      }
    }
    const reaches = new Map<number, boolean>([[ROOT_INO, true], [0, false]]);
    for (const ino of this.#dirs) {
      if (!this.#reachesRoot(ino, reaches)) this.#problem(`directory ${ino} has no way to the root`);
    }
    return true;
  }

  /** Follows parents up to where the answer is known, and notes it for all on the way. A circle reaches nothing. */
  #reachesRoot(ino: number, reaches: Map<number, boolean>): boolean {
    const path: number[] = [];
    let at = ino;
    for (; !reaches.has(at); at = this.#parents[at]) {
      reaches.set(at, false);
      path.push(at);
    }
    const answer = reaches.get(at)!;
    for (const each of path) reaches.set(each, answer);
    return answer;
  }

  #bitmaps(): boolean {
    const { groups, sb, cache } = this.#vol;
    for (; this.#group < groups.count; this.#group++) {
      if (--this.#budget < 0) return false;
      cache.get(groups.blockBitmap(this.#group));
      cache.get(groups.inodeBitmap(this.#group));
      if (sb.clusterRatio === 1) this.#blockBitmap(this.#group);
      this.#inodeBitmap(this.#group);
    }
    if (sb.clusterRatio === 1 && this.#free.blocks !== this.#vol.freeBlocks) {
      this.#problem(
        `free blocks: ${this.#vol.freeBlocks} counted, ${this.#free.blocks} there`,
        () => this.#setTotals(),
      );
    }
    if (this.#free.inodes !== this.#vol.freeInodes) {
      this.#problem(
        `free inodes: ${this.#vol.freeInodes} counted, ${this.#free.inodes} there`,
        () => this.#setTotals(),
      );
    }
    return true;
  }

  #setTotals(): void {
    this.#vol.freeBlocks = this.#free.blocks;
    this.#vol.freeInodes = this.#free.inodes;
    this.#vol.superDirty = true;
  }

  /** Sets `count` bits of a bitmap to what `isUsed` says. */
  #setBits(buf: Buf, count: number, isUsed: (bit: number) => boolean): void {
    this.#vol.edit(buf, 0, buf.data.length, buf.kind);
    buf.checked = PLAIN_BLOCK;
    for (let bit = 0; bit < count; bit++) {
      if (isUsed(bit)) buf.data[bit >> 3] |= 1 << (bit & 7);
      else buf.data[bit >> 3] &= ~(1 << (bit & 7));
    }
  }

  #blockBitmap(g: number): void {
    const vol = this.#vol, { groups } = vol, first = groups.firstBlock(g), count = groups.blocksIn(g);
    const bits = isUninit(groups, g, false) ? null : vol.cache.get(groups.blockBitmap(g)).data;
    const freed = vol.batch.freedBlocks.get(g);
    let free = 0, wrong = 0;
    for (let bit = 0; bit < count; bit++) {
      const block = first + bit, used = (this.#used[block >> 3] >> (block & 7)) & 1;
      if (!used) free++;
      else this.report.blocks++;
      const marked = bits ? ((bits[bit >> 3] & ~(freed?.[bit >> 3] ?? 0)) >> (bit & 7)) & 1 : used;
      if (marked !== used) wrong++;
    }
    this.#free.blocks += free;
    const fix = () => {
      this.#setBits(
        blockBitmap(vol, g),
        count,
        (bit) => (this.#used[(first + bit) >> 3] & (1 << ((first + bit) & 7))) !== 0,
      );
      groups.addFreeBlocks(g, free - groups.freeBlocks(g));
      vol.blockHints[g] = 0;
    };
    if (wrong > 0) this.#problem(`group ${g}: the block bitmap is wrong about ${wrong} blocks`, fix);
    if (free !== groups.freeBlocks(g)) {
      this.#problem(`group ${g}: ${groups.freeBlocks(g)} free blocks counted, ${free} there`, fix);
    }
  }

  #inodeBitmap(g: number): void {
    const vol = this.#vol, { groups, sb } = vol;
    const bits = isUninit(groups, g, true) ? null : vol.cache.get(groups.inodeBitmap(g)).data;
    let free = 0, wrong = 0, dirs = 0;
    for (let bit = 0; bit < sb.inodesPerGroup; bit++) {
      const ino = g * sb.inodesPerGroup + bit + 1, used = this.#modes[ino] !== 0 || ino < sb.firstIno;
      if (!used) free++;
      if (direntType(this.#modes[ino]) === 2) dirs++;
      const marked = bits && !vol.batch.freedInodes.has(ino)
        ? ((bits[bit >> 3] >> (bit & 7)) & 1) === 1
        : bits
        ? false
        : used;
      if (marked !== used) wrong++;
    }
    this.#free.inodes += free;
    const fix = () => {
      const isUsed = (bit: number) => {
        const ino = g * sb.inodesPerGroup + bit + 1;
        return this.#modes[ino] !== 0 || ino < sb.firstIno;
      };
      this.#setBits(inodeBitmap(vol, g), sb.inodesPerGroup, isUsed);
      groups.addFreeInodes(g, free - groups.freeInodes(g));
      groups.addUsedDirs(g, dirs - groups.usedDirs(g));
      vol.inodeHints[g] = 0;
    };
    if (wrong > 0) this.#problem(`group ${g}: the inode bitmap is wrong about ${wrong} inodes`, fix);
    if (free !== groups.freeInodes(g)) {
      this.#problem(`group ${g}: ${groups.freeInodes(g)} free inodes counted, ${free} there`, fix);
    }
    if (dirs !== groups.usedDirs(g)) {
      this.#problem(`group ${g}: ${groups.usedDirs(g)} directories counted, ${dirs} there`, fix);
    }
  }
}

/** All blocks of an inode: data, pointers, attributes. */
function collect(vol: Volume, inode: Inode, runs: Run[]): void {
  const add = (start: number, count: number) => {
    const last = inode.ino === RESIZE_INO ? undefined : runs.at(-1);
    if (last && last.start + last.count === start) last.count += count;
    else runs.push({ start, count });
  };
  const attrs = inode.fileAcl;
  if (attrs !== 0) {
    if (!vol.groups.isDataRun(attrs, 1)) throw new Err("EIO", `attribute block ${attrs} is out of range`);
    if (vol.cache.get(attrs).view.getUint32(4, true) === 1) add(attrs, 1);
  }
  if (!hasBlocks(vol, inode)) return;
  if (inode.hasExtents) return walkExtents(vol, inode, add);
  const limit = { left: vol.sb.blocksCount };
  for (let i = 0; i < POINTERS; i++) {
    const block = inode.pointer(i);
    if (block !== 0) collectTree(vol, inode, { block, level: Math.max(0, i - DIRECT_BLOCKS + 1) }, add, limit);
  }
}

function collectTree(
  vol: Volume,
  inode: Inode,
  at: { block: number; level: number },
  add: (start: number, count: number) => void,
  limit: { left: number },
): void {
  const allowed = vol.groups.isDataRun(at.block, 1) ||
    (inode.ino === RESIZE_INO && at.block < vol.sb.blocksCount);
  if (!allowed) throw new Err("EIO", `block number ${at.block} is out of range`);
  if (--limit.left < 0) throw new Err("EIO", "it has more blocks than the volume");
  add(at.block, 1);
  if (at.level === 0) return;
  const { view } = vol.cache.get(at.block);
  for (let p = 0; p < vol.blockSize; p += 4) {
    const block = view.getUint32(p, true);
    if (block !== 0) collectTree(vol, inode, { block, level: at.level - 1 }, add, limit);
  }
}
