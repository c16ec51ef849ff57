/**
 * The state of a volume that another instance goes on with: which files are open, and where.
 *
 * Layer: plugins/ext2, over volume_dev.ts. Saving brings every change to the disk first, so the dirty cache goes with the
 * disk; what the disk cannot tell is the state: open files, byte-range locks and who waits for one. It is plain data that
 * `structuredClone` carries. Half-read directories need nothing, for a cookie means the same in the next instance.
 *
 * What holds always: between `save` and `adopt` nobody writes to the disk. Files without a name are on the disk, without
 * links, until the last fid of the new instance lets go.
 */

import { type Chan, Req, type User } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import { LOCK_SUCCESS, type LockOf } from "../../core/p9/locks.ts";
import type { Flock } from "../../core/p9/types.ts";
import type { Place } from "./place.ts";
import type { File, VolumeDev } from "./volume_dev.ts";

/** The version that `save` writes. */
export const STATE_VERSION = 2;

/** A fid. */
export interface ChanState {
  /** What the new instance's answer calls it. */
  id: number;
  user: User;
  mode: number;
  /** Its place: index into `places`. */
  place: number;
  accessed: boolean;
  exclusive: boolean;
}

/** A place, by inode; the parent, an index into `places`, stands before it. The root is the first. */
export interface PlaceState {
  ino: number;
  generation: number;
  name: string;
  /** -1: it has no name any more. */
  parent: number;
}

/** A lock that is held or waited for, by a fid; whose it is is in the lock. */
export interface LockState {
  chan: number;
  lock: Flock;
}

export interface VolumeState {
  version: number;
  /** Of its qids. */
  number: number;
  /** Whether closing may mark the disk as clean. */
  isClean: boolean;
  places: PlaceState[];
  chans: ChanState[];
  locks: LockState[];
  /** In the order in which they came. */
  waiting: LockState[];
}

/** A request for a lock that waits on: its flush ends it, its status is that of Rlock. */
export interface Wait {
  req: Req;
  status: Promise<number>;
}

/** What a new instance goes on with: fids by their ids, and waits in the order of the state. */
export interface Adopted {
  chans: Map<number, Chan<File>>;
  waits: Wait[];
}

/** Brings all to the disk, and answers what the next instance needs. `dev` is not to be used any more. */
export async function save(dev: VolumeDev): Promise<VolumeState> {
  if (dev.fs.whyReadOnly === null) await dev.fs.sync();
  const indexes = new Map<Place, number>(), places: PlaceState[] = [];
  const put = (place: Place): number => {
    const known = indexes.get(place);
    if (known !== undefined) return known;
    const parent = place.parent ? put(place.parent) : -1, { ino, generation } = place.inode;
    indexes.set(place, places.length);
    return places.push({ ino, generation, name: place.name, parent }) - 1;
  };
  put(dev.places.root);
  const ids = new Map(savedChans(dev).map((c, id) => [c as Chan, id]));
  const chans = savedChans(dev).map((c, id) => {
    const { name, uid, gid } = c.user, { place, accessed } = c.aux;
    const exclusive = dev.openers.get(place.inode) === c;
    return { id, user: { name, uid, gid }, mode: c.mode, place: put(place), accessed, exclusive };
  });
  const lockState = ({ chan, lock }: LockOf): LockState => ({ chan: ids.get(chan)!, lock });
  return {
    version: STATE_VERSION,
    number: dev.options.number,
    isClean: dev.fs.isClean,
    places,
    chans,
    locks: dev.locks.held().map(lockState),
    waiting: dev.locks.waiting().map(lockState),
  };
}

/** The chans of a state, in the order in which `save` numbers them. */
export function savedChans(dev: VolumeDev): Chan<File>[] {
  return [...dev.chans];
}

/** The requests for locks that wait, in the order of the state. */
export function savedWaits(dev: VolumeDev): Req[] {
  return dev.locks.waiting().map(({ req }) => req);
}

/**
 * Goes on from a state on a new instance, whose volume was opened with `resumed` and that number. EINVAL for a state that is not of this version or not of this disk; then nothing is held.
 */
export async function adopt(dev: VolumeDev, state: VolumeState): Promise<Adopted> {
  if (state.version !== STATE_VERSION) throw new Err("EINVAL", `a state of version ${state.version} is not known`);
  if (state.number !== dev.options.number) throw new Err("EINVAL", "the state is another volume's");
  const places: Place[] = [];
  try {
    for (const saved of state.places) places.push(await enter(dev, saved, places));
    const chans = new Map(state.chans.map((saved) => [saved.id, reopen(dev, saved, places)]));
    for (const saved of state.locks) hold(dev, saved, chans);
    return { chans, waits: state.waiting.map((saved) => waitOn(dev, saved, chans)) };
  } finally {
    for (const place of places) await dev.places.drop(place);
  }
}

async function enter(dev: VolumeDev, saved: PlaceState, places: Place[]): Promise<Place> {
  return await dev.fs.look((vol) => {
    const inode = vol.inode(saved.ino), parent = places[saved.parent];
    if (inode.generation !== saved.generation) {
      throw new Err("EINVAL", `the state is not of this disk: inode ${saved.ino}`);
    }
    if (places.length === 0) {
      dev.places.root.refs++;
      return dev.places.root;
    }
    return parent ? dev.places.enter(parent, saved.name, inode) : dev.places.orphan(inode);
  });
}

function reopen(dev: VolumeDev, saved: ChanState, places: Place[]): Chan<File> {
  const place = places[saved.place];
  if (!place) throw new Err("EINVAL", "the state has a file without a place");
  place.refs++;
  dev.users.learn(saved.user);
  const c = dev.chan(place, saved.user);
  c.mode = saved.mode;
  c.aux.accessed = saved.accessed;
  if (saved.exclusive) dev.openers.set(place.inode, c);
  return c;
}

function hold(dev: VolumeDev, saved: LockState, chans: Map<number, Chan<File>>): void {
  const chan = fidOf(saved, chans), lock = { ...saved.lock, flags: 0 };
  if (dev.lock(chan, lock, new Req(chan.user)) === LOCK_SUCCESS) return;
  throw new Err("EINVAL", "the state has locks that stand in each other's way");
}

function waitOn(dev: VolumeDev, saved: LockState, chans: Map<number, Chan<File>>): Wait {
  const chan = fidOf(saved, chans), req = new Req(chan.user), status = Promise.resolve(dev.lock(chan, saved.lock, req));
  // That it failed is its caller's to see, who may not be there yet.
  status.catch(() => {});
  return { req, status };
}

function fidOf({ chan }: LockState, chans: Map<number, Chan<File>>): Chan<File> {
  const found = chans.get(chan);
  if (!found) throw new Err("EINVAL", "the state has a lock without a file");
  return found;
}
