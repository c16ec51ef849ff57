/**
 * Commit: takes the batch of changes to the disk in an order in which every moment is one that `e2fsck -p` mends.
 *
 * Layer: fs/ext2, above volume. It follows the rules of soft updates, by rounds: the writes of one round may reach the disk
 * in any order, a flush stands between two rounds.
 *
 *  1. the superblock, if it does not yet say that the volume is in use, or if what follows needs a new feature bit
 *  2. file data, blocks that nothing points to yet, bitmaps (in which everything in use, before and after, is marked)
 *  3. parking: files whose name moves to another block, or gives way to a renamed one, get a second name in lost+found
 *  4. deaths: inodes without a name, files first, then directories from the leaves up: names of dead files are cleared
 *  5. directory blocks and pointer blocks changed in place: new names of inodes that are not there yet are cleared, too
 *  6. inodes that were there before; then new ones, parents first
 *  7. deaths of parked files
 *  8. lost+found as it was; group descriptors and superblock
 *
 * No order makes the move of a directory whole: it would have two names for a moment, or none. A batch with one in it, and
 * every batch of a volume with a journal, goes through a log (log.ts):
 *
 *  1., 2. as above; 3. the log; 4. the write that makes it count; 5. all in place; 6. the log is empty
 *
 * What holds always: nothing freed since the last commit is used again before this one is done, so a block or inode never
 * has two owners on the disk. Without a lost+found with room there is no parking; without room for a log, or with more
 * changes than it holds, there is none, and a moved directory may have to be looked for by hand.
 *
 * See Ganger, McKusick et al., "Soft Updates" (2000), and e2fsck(8) for what `-p` mends.
 */

import { type Err, toErr } from "../../core/err.ts";
import { settleFrees } from "./alloc.ts";
import { BLOCK_BITMAP, Buf, INODE_BITMAP, Miss, PLAIN_BLOCK } from "./cache.ts";
import { findEmptyBlock, lookup } from "./dir.ts";
import { descriptorBlock } from "./group.ts";
import type { Inode } from "./inode.ts";
import {
  COMPAT,
  direntType,
  FL_INDEX,
  IN,
  INCOMPAT,
  JOURNAL_INO,
  ROOT_INO,
  SB,
  SUPER_OFFSET,
  VALID_FS,
} from "./layout.ts";
import type { Log } from "./log.ts";
import { sealBlocks, sealInode, sealSuper } from "./seal.ts";
import { setCount } from "./superblock.ts";
import { Batch, PARKED_ENTRY_BYTES, type Volume } from "./volume.ts";

/** A dirty inode beside what the disk has of it. */
interface Change {
  inode: Inode;
  table: Buf;
  offset: number;
  oldLinks: number;
}

/** Whether something is not on the disk yet. */
export function isDirty(vol: Volume): boolean {
  return vol.dirtyInodes.size > 0 || vol.cache.dirty.size > 0 || vol.groups.dirty.size > 0 || vol.superDirty;
}

/** Takes everything changed so far to the disk and flushes it. A promise where the port takes its time. */
export function commit(vol: Volume): Promise<void> | undefined {
  if (vol.committing) return vol.committing.then(() => commit(vol));
  if (vol.failed) throw vol.failed;
  if (!isDirty(vol)) return;
  let parking: Buf | null;
  const log = vol.log && fits(vol, vol.log) ? vol.log : null;
  try {
    parking = log ? null : parkingBlock(vol);
  } catch (thrown) {
    if (thrown instanceof Miss) return thrown.ready.then(() => commit(vol));
    throw thrown;
  }
  if (parking) parking.pins++;
  const pending = drive(vol, log ? loggedRounds(vol, log) : rounds(vol, parking));
  if (!pending) return;
  vol.committing = pending.finally(() => vol.committing = undefined);
  return vol.committing;
}

/** Writes round by round, with a flush after each that wrote something. */
function drive(vol: Volume, steps: Generator<Buf[]>): Promise<void> | undefined {
  try {
    for (let next = steps.next(); !next.done; next = steps.next()) {
      if (next.value.length === 0) continue;
      const pending = vol.cache.write(next.value) ?? vol.port.flush();
      if (pending) return driveOn(vol, steps, pending);
    }
  } catch (thrown) {
    throw writeFailed(vol, thrown);
  }
}

async function driveOn(vol: Volume, steps: Generator<Buf[]>, pending: Promise<void>): Promise<void> {
  try {
    await pending;
    await vol.port.flush();
    for (const more of steps) {
      if (more.length === 0) continue;
      await vol.cache.write(more);
      await vol.port.flush();
    }
  } catch (thrown) {
    throw writeFailed(vol, thrown);
  }
}

/** What could not be written may leave the disk half changed: nothing more is written. */
function writeFailed(vol: Volume, thrown: unknown): Err {
  const err = toErr(thrown);
  vol.readOnly ??= `writing to the disk failed: ${err.message}`;
  vol.damaged = true;
  vol.failed = err;
  return err;
}

function* rounds(vol: Volume, parking: Buf | null): Generator<Buf[]> {
  const changes = [...vol.dirtyInodes].map((inode) => changeOf(vol, inode));
  const parked = parking ? changes.filter((c) => needsParking(vol, c)) : [];
  if (!vol.marked || vol.superDirty) yield [markedSuper(vol)];
  yield* cleanAfter(vol, (buf) => buf.early);
  if (parking && parked.length > 0) yield [parkedBlock(vol, parking, parked)];
  yield* deaths(vol, changes, new Set(parked));
  yield* cleanAfter(vol, (buf) => !buf.early);
  yield apply(vol, changes.filter((c) => c.oldLinks > 0 && c.inode.links > 0));
  yield* births(vol, changes.filter((c) => c.oldLinks === 0 && c.inode.links > 0));
  yield apply(vol, changes.filter((c) => c.inode.links === 0));
  yield [...(parking && parked.length > 0 ? [parking] : []), ...descriptors(vol), superBlock(vol)];
  if (parking) parking.pins--;
  settle(vol, changes);
}

/** Whether all that a log would have to hold does fit into it. */
function fits(vol: Volume, log: Log): boolean {
  const tables = new Set([...vol.dirtyInodes].map((inode) => vol.tableBlock(inode.ino)));
  const late = [...vol.cache.dirty].filter((buf) => !buf.early || isBitmap(buf)).length;
  return late + tables.size + vol.groups.dirty.size <= log.capacity;
}

/** All that is no data and was there before, as one transaction of a log. */
function* loggedRounds(vol: Volume, log: Log): Generator<Buf[]> {
  const changes = [...vol.dirtyInodes].map((inode) => changeOf(vol, inode));
  if (!vol.marked || vol.superDirty) yield [markedSuper(vol)];
  yield* cleanAfter(vol, (buf) => buf.early && !isBitmap(buf));
  if (log.passing) yield apply(vol, changes.filter((c) => c.inode.ino === JOURNAL_INO));
  const late = [...vol.cache.dirty];
  sealBlocks(vol, late);
  const all = [...late, ...apply(vol, changes), ...descriptors(vol)];
  yield log.passing ? [...log.transaction(all), log.superblock(true)] : log.transaction(all);
  yield [log.passing ? journalledSuper(vol, true) : log.superblock(true)];
  yield all;
  for (const buf of late) vol.cache.clean(buf);
  const emptied = log.superblock(false);
  yield log.passing ? [journalledSuper(vol, false)] : [emptied, superBlock(vol)];
  settle(vol, changes);
}

function isBitmap({ kind }: Buf): boolean {
  return kind === BLOCK_BITMAP || kind === INODE_BITMAP;
}

function changeOf(vol: Volume, inode: Inode): Change {
  const table = vol.cache.get(vol.tableBlock(inode.ino)), offset = vol.tableOffset(inode.ino);
  return { inode, table, offset, oldLinks: table.view.getUint16(offset + IN.links, true) };
}

/** Yields the dirty blocks that `which` names; they are clean once they are written. */
function* cleanAfter(vol: Volume, which: (buf: Buf) => boolean): Generator<Buf[]> {
  const bufs = [...vol.cache.dirty].filter(which);
  sealBlocks(vol, bufs);
  yield bufs;
  for (const buf of bufs) vol.cache.clean(buf);
}

/** Brings inodes into their blocks of the table; answers those blocks. */
function apply(vol: Volume, changes: Change[]): Buf[] {
  const tables = new Set<Buf>();
  for (const { inode, table, offset } of changes) {
    table.data.set(inode.raw, offset);
    sealInode(vol, inode.ino, table, offset);
    table.checked = PLAIN_BLOCK;
    tables.add(table);
  }
  return [...tables];
}

function* deaths(vol: Volume, changes: Change[], parked: Set<Change>): Generator<Buf[]> {
  const dead = changes.filter((c) => c.inode.links === 0 && c.oldLinks > 0 && !parked.has(c));
  const dirs = new Map(dead.filter((c) => c.inode.isDir).map((c) => [c.inode.ino, c]));
  yield [...apply(vol, dead.filter((c) => !c.inode.isDir)), ...dropIndexFlags(vol, changes)];
  const heights = new Map<number, number>();
  const waves: Change[][] = [];
  for (const { ino, parent } of vol.batch.deadDirs) {
    const height = heights.get(ino) ?? 0, change = dirs.get(ino);
    if (change) (waves[height] ??= []).push(change);
    heights.set(parent, Math.max(heights.get(parent) ?? 0, height + 1));
  }
  for (const wave of waves) yield apply(vol, wave ?? []);
}

/** A directory whose hash tree no longer holds says so before its blocks change. */
function dropIndexFlags(vol: Volume, changes: Change[]): Buf[] {
  const tables: Buf[] = [];
  for (const { inode, table, offset, oldLinks } of changes) {
    const flags = table.view.getUint32(offset + IN.flags, true);
    if (oldLinks === 0 || !(flags & FL_INDEX) || (inode.flags & FL_INDEX)) continue;
    table.view.setUint32(offset + IN.flags, flags & ~FL_INDEX, true);
    sealInode(vol, inode.ino, table, offset);
    tables.push(table);
  }
  return tables;
}

/** New inodes, each after a directory that names it, or with it in one block. */
function* births(vol: Volume, born: Change[]): Generator<Buf[]> {
  const waiting = new Map(born.map((c) => [c.inode.ino, c]));
  while (waiting.size > 0) {
    const wave = new Map<number, Change>();
    for (const [ino, change] of waiting) {
      const parents = vol.batch.parents.get(ino) ?? [];
      const isReady = (parent: number) => !waiting.has(parent) || wave.get(parent)?.table === change.table;
      if (parents.length === 0 || parents.some(isReady)) wave.set(ino, change);
    }
    const next = wave.size > 0 ? wave : waiting;
    yield apply(vol, [...next.values()]);
    for (const ino of [...next.keys()]) waiting.delete(ino);
  }
}

/** Files that were on the disk and whose only name there is about to go, though they live, or just now gave way. */
function needsParking(vol: Volume, { inode, oldLinks }: Change): boolean {
  if (oldLinks === 0 || inode.isDir) return false;
  const { lost, gained, replaced } = vol.batch;
  const gaveWay = replaced.has(inode.ino);
  return inode.links > 0 ? gained.has(inode.ino) && (gaveWay || lost.has(inode.ino)) : gaveWay;
}

/** An empty block of lost+found, if there is something to park. */
function parkingBlock(vol: Volume): Buf | null {
  const { lost, gained, replaced } = vol.batch;
  if (vol.sb.hasChecksums) return null;
  if (replaced.size === 0 && (lost.size === 0 || gained.size === 0)) return null;
  const ino = lookup(vol, vol.inode(ROOT_INO), "lost+found");
  if (ino === 0) return null;
  const dir = vol.inode(ino);
  return dir.isDir && !vol.batch.parents.has(ino) ? findEmptyBlock(vol, dir) : null;
}

/** The block with a name for each parked file. */
function parkedBlock(vol: Volume, empty: Buf, parked: Change[]): Buf {
  const block = new Buf(empty.no, new Uint8Array(vol.blockSize));
  const wanted = Math.min(parked.length, Math.floor(vol.blockSize / PARKED_ENTRY_BYTES));
  for (let i = 0, at = 0; i < wanted; i++) {
    const ino = parked[i].inode.ino, name = `#${ino}`, bytes = (8 + name.length + 3) & ~3;
    const length = i === wanted - 1 ? vol.blockSize - at : bytes;
    block.view.setUint32(at, ino, true);
    block.view.setUint16(at + 4, length === 65536 ? 65535 : length, true);
    block.data[at + 6] = name.length;
    block.data[at + 7] = vol.sb.hasFiletype ? parkedType(parked[i]) : 0;
    for (let c = 0; c < name.length; c++) block.data[at + 8 + c] = name.charCodeAt(c);
    at += bytes;
  }
  return block;
}

function parkedType({ table, offset }: Change): number {
  return direntType(table.view.getUint16(offset + IN.mode, true));
}

/** The superblock on the disk while the volume is in use: not clean. */
function markedSuper(vol: Volume): Buf {
  const { view } = vol.sb, now = Math.floor(vol.now() / 1000);
  if (!vol.marked) {
    view.setUint16(SB.mountCount, view.getUint16(SB.mountCount, true) + 1, true);
    view.setUint32(SB.mtime, now, true);
    view.setUint16(SB.state, view.getUint16(SB.state, true) & ~VALID_FS, true);
    if (vol.log && !vol.log.passing) {
      view.setUint32(SB.incompat, view.getUint32(SB.incompat, true) | INCOMPAT.needs_recovery, true);
    }
  }
  vol.marked = true;
  vol.superDirty = false;
  return superBlock(vol);
}

/** The superblock that says that a passing log counts, or that it does no more. */
function journalledSuper(vol: Volume, on: boolean): Buf {
  const { view } = vol.sb,
    set = (word: number, bit: number) => {
      const old = view.getUint32(word, true);
      view.setUint32(word, (on ? old | bit : old & ~bit) >>> 0, true);
    };
  set(SB.compat, COMPAT.has_journal);
  set(SB.incompat, INCOMPAT.needs_recovery);
  view.setUint32(SB.journalInum, on ? JOURNAL_INO : 0, true);
  return superBlock(vol);
}

/** The block that the superblock lies in. */
export function superBlock(vol: Volume): Buf {
  const { sb } = vol, no = sb.blockSize === 1024 ? 1 : 0, offset = sb.blockSize === 1024 ? 0 : SUPER_OFFSET;
  sb.view.setUint32(SB.wtime, Math.floor(vol.now() / 1000), true);
  setCount(sb, SB.freeBlocksLo, SB.freeBlocksHi, vol.freeBlocks);
  sb.view.setUint32(SB.freeInodes, vol.freeInodes, true);
  sealSuper(sb);
  const buf = vol.cache.get(no);
  buf.data.set(sb.raw, offset);
  return buf;
}

/** Group descriptors that changed. */
function descriptors(vol: Volume): Buf[] {
  const { sb, groups } = vol, bufs: Buf[] = [];
  for (const i of groups.dirty) {
    groups.seal(i);
    bufs.push(new Buf(descriptorBlock(sb, i), groups.raw.subarray(i * sb.blockSize, (i + 1) * sb.blockSize)));
  }
  groups.dirty.clear();
  return bufs;
}

/** Everything is on the disk: what was freed may be used again. */
function settle(vol: Volume, changes: Change[]): void {
  for (const { inode, table } of changes) {
    inode.dirty = false;
    table.pins--;
    vol.dirtyInodes.delete(inode);
  }
  settleFrees(vol);
  vol.batch = new Batch();
}

/**
 * After the last commit: nothing needs recovery; and the volume is clean, if it was when it was opened and no damage was
 * seen.
 */
export function markClean(vol: Volume, wasClean: boolean): Promise<void> | undefined {
  const { view } = vol.sb;
  if (!vol.marked || vol.failed) return;
  view.setUint32(SB.incompat, view.getUint32(SB.incompat, true) & ~INCOMPAT.needs_recovery, true);
  if (wasClean && !vol.damaged) view.setUint16(SB.state, view.getUint16(SB.state, true) | VALID_FS, true);
  vol.marked = false;
  return vol.cache.write([superBlock(vol)]) ?? vol.port.flush() ?? undefined;
}
