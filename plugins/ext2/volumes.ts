/**
 * Volumes: the volumes that the plugin has open, by name: opened, synced, checked, closed.
 *
 * Layer: plugins/ext2, between the control files (front.ts) and the volumes themselves (volume_dev.ts).
 *
 * What holds always: changes reach the disk by `commitMs` after they were made, by fsync, or when the volume is closed; a
 * volume that is gone answers ESTALE to who still holds files of it. Damage and failed writes are told to the log, once.
 */

import type { Clock } from "../../core/clock.ts";
import { Err, excerpt, toErr } from "../../core/err.ts";
import type { QueueTable } from "../../core/queues.ts";
import type { Disk } from "../../devices/disk.ts";
import type { OwnedDisk } from "../../devices/disk_queue.ts";
import { Ext2, type Report } from "../../fs/ext2/fs.ts";
import { MAX_VOLUMES } from "./attr.ts";
import { diskPath, type Made, openSource, type Source } from "./source.ts";
import type { VolumeState } from "./state.ts";
import { type AtimePolicy, VolumeDev } from "./volume_dev.ts";

/** What the volumes of a plugin share. */
export interface VolumesOptions {
  clock: Clock;
  hostowner: string;
  /** Who owns the disks: the plugin's name. */
  owner: string;
  queues: QueueTable | undefined;
  /** Opens a file of the name space as a disk. */
  openFile?(path: string, readOnly: boolean): Promise<Disk>;
  random(bytes: Uint8Array): void;
  log(text: string): void;
  cacheBytes: number;
  commitMs: number;
  atime: AtimePolicy;
  users: string;
  /** Where the disks are whose path is relative. */
  folder: string;
  /** Where the trees are whose path is relative, which new volumes are filled with. */
  image: string;
  /** Lets others run between two pieces of work. */
  turn?(): Promise<void>;
}

/** An open volume. */
export interface OpenVolume {
  readonly source: Source;
  readonly number: number;
  readonly fs: Ext2;
  readonly dev: VolumeDev;
  readonly owned: OwnedDisk;
  /** Set when it was made anew. */
  readonly made: Made | null;
  /** Why it is gone, once it is. */
  gone: Err | null;
  /** Takes back the alarm for the next commit. */
  cancel: (() => void) | null;
  /** What the log was last told about why it is read only. */
  toldWhy: string | null;
}

/** How a volume is opened besides what its source says. */
export interface OpenHow {
  takeOver?: boolean;
  /** What an earlier instance handed over (state.ts). */
  state?: VolumeState;
}

export class Volumes {
  readonly #options: VolumesOptions;
  readonly #open = new Map<string, OpenVolume>();
  readonly #opening = new Set<string>();
  /** Volumes that could not be opened, and need not be: by name, with the reason. */
  readonly absent = new Map<string, { source: Source; why: string }>();

  constructor(options: VolumesOptions) {
    this.#options = options;
  }

  /** All that are open, in the order of opening. */
  list(): OpenVolume[] {
    return [...this.#open.values()];
  }

  /** The volume of that name. ENOENT. */
  get(name: string): OpenVolume {
    const volume = this.#open.get(name);
    if (!volume) throw new Err("ENOENT", `no volume is called "${excerpt(name)}"`);
    return volume;
  }

  /** Opens a volume. EEXIST for a name in use; what is wrong with the disk says itself. */
  async open(source: Source, how: OpenHow = {}): Promise<OpenVolume> {
    const { name } = source;
    if (this.#open.has(name) || this.#opening.has(name)) throw new Err("EEXIST", `there is a volume ${name} already`);
    this.#opening.add(name);
    try {
      const volume = await this.#make(source, how);
      this.#open.set(name, volume);
      this.absent.delete(name);
      this.#tell(volume);
      this.#tellMade(volume);
      await this.#afterCrash(volume);
      return volume;
    } catch (thrown) {
      const err = toErr(thrown);
      throw new Err(err.code, `cannot open ${source.disk} as ${name}: ${err.message}`, { cause: err });
    } finally {
      this.#opening.delete(name);
    }
  }

  /** Opens a volume; one that is optional and can not be opened is told to the log, and absent. */
  async openIfCan(source: Source, how: OpenHow = {}): Promise<void> {
    try {
      await this.open(source, how);
    } catch (thrown) {
      if (!source.optional) throw thrown;
      const why = toErr(thrown).message;
      this.absent.set(source.name, { source, why });
      this.#options.log(why);
    }
  }

  /** The path of a volume's disk on the host. */
  pathOf(source: Source): string {
    return diskPath(source.disk, this.#options);
  }

  /** A volume that was not closed is mended if its source says so. */
  async #afterCrash({ fs, source }: OpenVolume): Promise<void> {
    const { log } = this.#options, { name } = source;
    if (!fs.wasUnclean) return;
    if (!source.repair || fs.whyReadOnly !== null) return log(`${name}: was not closed cleanly (try: check ${name})`);
    const { found, left } = await fs.repair();
    if (left.problems.length === 0) {
      return log(`${name}: was not closed cleanly: ${found.problems.length} problems mended`);
    }
    log(`${name}: is damaged, and not mended: ${left.problems[0]} (try: check ${name})`);
  }

  /** Brings all to the disk and lets it go. EBUSY while files are held, unless forced. */
  async close(name: string, options: { force?: boolean } = {}): Promise<void> {
    const volume = this.get(name), held = volume.dev.chans.size;
    if (held > 0 && !options.force) {
      throw new Err("EBUSY", `${held} files of ${name} are in use (try: close ${name} force)`);
    }
    try {
      await this.#shut(volume, new Err("ESTALE", `the volume ${name} was closed`));
    } catch (thrown) {
      const err = toErr(thrown);
      throw new Err(err.code, `${name} was closed with changes that are not on its disk: ${err.message}`, {
        cause: err,
      });
    } finally {
      await volume.owned.release();
    }
  }

  /** Closes all; what fails is told to the log. */
  async closeAll(): Promise<void> {
    for (const { source: { name } } of this.list()) {
      await this.close(name, { force: true }).catch((e) => this.#options.log(toErr(e).message));
    }
  }

  /** Brings the volume's changes to the disk. */
  async sync(volume: OpenVolume): Promise<void> {
    volume.cancel?.();
    volume.cancel = null;
    try {
      await volume.fs.sync();
    } finally {
      this.#tell(volume);
    }
  }

  /** Whether a volume is sound; with `repair` it is mended as far as that is safe, and nobody may hold files of it. */
  async check(volume: OpenVolume, repair: boolean): Promise<Report> {
    const { name } = volume.source;
    if (!repair) return await volume.fs.check();
    if (volume.dev.chans.size > 0) throw new Err("EBUSY", `files of ${name} are in use`);
    return (await volume.fs.repair()).left;
  }

  /** Takes a volume out without a word to its disk: whoever goes on with it has its state. */
  async handOver(volume: OpenVolume): Promise<void> {
    volume.cancel?.();
    volume.gone = new Err("ESTALE", `the volume ${volume.source.name} has moved`);
    volume.dev.locks.clear(volume.gone);
    this.#open.delete(volume.source.name);
    await volume.owned.release();
  }

  async #make(source: Source, how: OpenHow): Promise<OpenVolume> {
    const { clock, cacheBytes } = this.#options;
    const made: { volume?: OpenVolume } = {};
    const owned = await openSource(source, {
      ...this.#options,
      now: () => clock.now(),
      takeOver: how.takeOver ?? false,
      onRevoke: async () => {
        if (made.volume) await this.#shut(made.volume, new Err("ESTALE", `the disk of ${source.name} was taken away`));
      },
    });
    try {
      const fs = await Ext2.open(owned.disk, {
        now: risingClock(clock),
        readOnly: source.readOnly,
        whyDisk: owned.refused && `it can not be opened for writing: ${owned.refused.message}`,
        cacheBytes: source.cacheBytes || cacheBytes,
        resumed: how.state?.isClean ?? false,
      });
      const number = how.state?.number ?? this.#freeNumber();
      const dev = await VolumeDev.make(source.name, fs, {
        clock,
        hostowner: this.#options.hostowner,
        number,
        atime: source.atime ?? this.#options.atime,
        users: this.#options.users,
        changed: () => made.volume && this.#changed(made.volume),
      });
      return made.volume = {
        source,
        number,
        fs,
        dev,
        owned,
        made: owned.made,
        gone: null,
        cancel: null,
        toldWhy: null,
      };
    } catch (thrown) {
      await owned.release();
      throw thrown;
    }
  }

  #freeNumber(): number {
    const used = new Set(this.list().map((volume) => volume.number));
    for (let i = 0; i < MAX_VOLUMES; i++) if (!used.has(i)) return i;
    throw new Err("ENFILE", `${MAX_VOLUMES} volumes are open`);
  }

  async #shut(volume: OpenVolume, why: Err): Promise<void> {
    volume.cancel?.();
    volume.cancel = null;
    volume.gone = why;
    volume.dev.locks.clear(why);
    this.#open.delete(volume.source.name);
    await volume.fs.close();
  }

  /** Sees that what was changed gets to the disk before long. */
  #changed(volume: OpenVolume): void {
    if (volume.cancel || volume.gone) return;
    const { clock, commitMs, log } = this.#options;
    volume.cancel = clock.after(commitMs, () => {
      volume.cancel = null;
      if (volume.gone || !volume.fs.isDirty) return;
      this.sync(volume).catch((e) => log(`${volume.source.name}: writing back: ${toErr(e).message}`));
    });
  }

  #tellMade({ source, made }: OpenVolume): void {
    if (made) this.#options.log(`${source.name}: a new volume, ${madeText(made)}`);
  }

  /** Tells the log when a volume cannot be written any more, or not at all. */
  #tell(volume: OpenVolume): void {
    const { fs, source } = volume, why = fs.whyReadOnly;
    if (why !== null && why !== volume.toldWhy) this.#options.log(`${source.name}: read only: ${why}`);
    volume.toldWhy = why;
  }
}

/** What a volume that was made has: `empty`, `with 12 files from /home/you/tree`. */
export function madeText({ files, from }: Made): string {
  return from === "" ? "empty" : `with ${files} files from ${from}`;
}

/** Wall time that never shows one moment twice, so that each change has a time of its own. */
function risingClock(clock: Clock): () => number {
  let last = 0;
  return () => last = Math.max(clock.now(), last + 0.001);
}
