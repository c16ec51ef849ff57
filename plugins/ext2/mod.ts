/**
 * ext2: disks with an ext2 file system as trees.
 *
 * Layer: a plugin. This reads the options and makes the control files; front.ts puts them together with the volumes. The
 * manual page is ext2.md.
 */

import type { Kernel } from "../../core/kernel.ts";
import { type Ctx, definePlugin, type StartReason } from "../../core/plugin/plugin.ts";
import { Err, excerpt, PATH_CHARS, toErr } from "../../core/err.ts";
import { type Tree, tree } from "../../core/tree.ts";
import { ctl } from "../../core/tree_ctl.ts";
import { ORDWR, OREAD } from "../../core/p9/types.ts";
import { BlkFile } from "../../devices/blkfile.ts";
import type { Disk } from "../../devices/disk.ts";
import { FileDisk } from "../../devices/file_disk.ts";
import type { Report } from "../../fs/ext2/fs.ts";
import { mkfs } from "../../fs/ext2/mkfs.ts";
import { Front } from "./front.ts";
import { hostPath, parseBytes, parseSource, parseVolume } from "./source.ts";
import type { AtimePolicy } from "./volume_dev.ts";
import { madeText, type OpenVolume, Volumes } from "./volumes.ts";

export { Front } from "./front.ts";
export { Volumes, type VolumesOptions } from "./volumes.ts";
export { VolumeDev } from "./volume_dev.ts";

const CACHE_BYTES = 32 << 20, COMMIT_SECONDS = 5;

export default definePlugin({
  async start(ctx: Ctx, reason: StartReason) {
    const { options } = ctx, kernel = ctx.kernel as Kernel | undefined;
    const volumes = new Volumes({
      clock: ctx.clock,
      hostowner: ctx.hostowner,
      owner: ctx.name,
      queues: kernel?.queues,
      openFile: kernel && ((path, readOnly) => openFile(kernel, path, readOnly)),
      random: (bytes) => ctx.random(bytes),
      log: (text) => ctx.log(text),
      cacheBytes: Number(options.cacheBytes ?? CACHE_BYTES),
      commitMs: Number(options.commitSeconds ?? COMMIT_SECONDS) * 1000,
      atime: (options.atime ?? "relatime") as AtimePolicy,
      users: String(options.users ?? ""),
      folder: String(options.folder ?? ""),
      image: String(options.image ?? ""),
      turn: ctx.turn,
    });
    ctx.defer(() => volumes.closeAll());
    for (const text of (options.volumes ?? []) as string[]) await openLine(volumes, text, reason !== "fresh");
    return new Front(ctx.name, { control: controlTree(volumes, ctx), empty: tree({}, ctx) }, volumes);
  },
});

/** Opens what a line of the option `volumes` says; errors tell the line. */
async function openLine(volumes: Volumes, text: string, takeOver: boolean): Promise<void> {
  try {
    await volumes.openIfCan(parseVolume(text), { takeOver });
  } catch (thrown) {
    const err = toErr(thrown);
    throw new Err(err.code, `volumes: "${excerpt(text, PATH_CHARS)}": ${err.message}`, { cause: err });
  }
}

/** A file of the first proc's name space as a disk. */
async function openFile(kernel: Kernel, path: string, readOnly: boolean): Promise<Disk> {
  const proc = kernel.procs.get(1);
  if (!proc) throw new Err("ENXIO", "there is no name space yet (open it by ctl, once the system is up)");
  const fd = await proc.open(path, readOnly ? OREAD : ORDWR), close = () => proc.close(fd);
  try {
    return await FileDisk.make(proc.fgrp.get(fd), close);
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** `ctl`, `status`, and what the last check said. */
function controlTree(volumes: Volumes, ctx: Ctx): Tree {
  let report = "";
  const check = async (name: string, repair: boolean) => {
    const volume = volumes.get(name), found = await volumes.check(volume, repair);
    report = reportText(name, found);
    if (found.problems.length > 0) {
      throw new Err("EIO", `${name}: ${found.problems.length} problems, the first: ${found.problems[0]} (see report)`);
    }
  };
  return tree({
    ctl: ctl({
      "open name disk words...": {
        help:
          "[ro|rw] [create=SIZE [from=TREE]] [repair] [part=N] [direct] [inflight=N] [cache=SIZE] [noatime|relatime|strictatime]: #NAME.name is its tree",
        run: async (name, disk, words) => void await volumes.open(parseSource(name, disk, words)),
      },
      "close name [force]": {
        help: "brings all to the disk and lets it go; with force also when files of it are in use",
        run: (name, force) => volumes.close(name, { force: isForce(force) }),
      },
      "sync [name]": {
        help: "brings all changes to the disk",
        run: async (name) => {
          for (const volume of name === undefined ? volumes.list() : [volumes.get(name)]) await volumes.sync(volume);
        },
      },
      "check name": { help: "looks for damage; what is found is in report", run: (name) => check(name, false) },
      "repair name": { help: "mends what is safe to mend, while nobody uses it", run: (name) => check(name, true) },
      "format file size [label]": {
        help: "makes a file of that size (64M, 2G) with an empty volume",
        run: (file, size, label) => format(ctx, { file, size, label }),
      },
    }),
    status: () => [...volumes.list().map((volume) => statusLine(volumes, volume)), ...absentLines(volumes)].join(""),
    report: () => report,
  }, ctx);
}

function isForce(word: string | undefined): boolean {
  if (word !== undefined && word !== "force") throw new Err("EINVAL", `"${excerpt(word)}" is not "force"`);
  return word === "force";
}

function absentLines(volumes: Volumes): string[] {
  return [...volumes.absent.values()].map(({ source, why }) =>
    `${source.name} absent disk ${volumes.pathOf(source)} because ${why}\n`
  );
}

function statusLine(volumes: Volumes, volume: OpenVolume): string {
  const { fs, source, dev, owned } = volume, usage = fs.statfs(), why = fs.whyReadOnly;
  const state = fs.damageCount > 0 ? "damaged" : fs.isDirty ? "dirty" : fs.wasUnclean ? "unclean" : "clean";
  const path = volumes.pathOf(source), disk = source.part === "" ? path : `${path} part ${source.part}`;
  return [
    `${source.name} ${why === null ? "rw" : "ro"} ${state} disk ${disk} sector ${owned.disk.sectorBytes}`,
    `block ${usage.blockSize} blocks ${usage.blocks} free ${usage.freeBlocks} available ${usage.availableBlocks}`,
    `inodes ${usage.inodes} ifree ${usage.freeInodes} fids ${dev.chans.size}`,
    ...(fs.label === "" ? [] : [`label ${fs.label}`]),
    ...(volume.made ? [`made ${madeText(volume.made)}`] : []),
    ...(why === null ? [] : [`because ${why}`]),
  ].join(" ") + "\n";
}

function reportText(name: string, report: Report): string {
  if (report.problems.length === 0) return `${name}: clean\n`;
  return report.problems.map((problem) => `${name}: ${problem}\n`).join("");
}

/** Makes a file with an empty volume in it; a file that is there stays as it is (EEXIST). When it fails there is none. */
async function format(ctx: Ctx, what: { file: string; size: string; label: string | undefined }): Promise<void> {
  const bytes = parseBytes(what.size), uuid = new Uint8Array(16);
  const path = hostPath(what.file, { folder: String(ctx.options.folder ?? "") });
  ctx.random(uuid);
  let disk: BlkFile | undefined;
  try {
    disk = BlkFile.create(path, bytes - (bytes % 4096));
    await mkfs(disk, { uuid, now: ctx.clock.now(), zeroed: true, label: what.label });
    await disk.flush();
    await disk.close();
  } catch (thrown) {
    await disk?.remove();
    const err = toErr(thrown);
    throw new Err(err.code, `cannot format ${what.file}: ${err.message}`, { cause: err });
  }
}
