/**
 * sd: disks as files: `sdctl`, and for each disk `sdXX/{ctl,raw,data,partN}`.
 *
 * Layer: a plugin. unit.ts is a disk; this attaches and detaches them. The manual page is sd.md.
 */

import type { Kernel } from "../../core/kernel.ts";
import { Err, excerpt, PATH_CHARS, toErr } from "../../core/err.ts";
import { type Ctx, definePlugin, type StartReason } from "../../core/plugin/plugin.ts";
import { tree } from "../../core/tree.ts";
import { ctl, tokenize } from "../../core/tree_ctl.ts";
import { dynamic } from "../../core/tree_dir.ts";
import { BlkFile } from "../../devices/blkfile.ts";
import { BlkRam } from "../../devices/blkram.ts";
import { ownDisk, type OwnedDisk } from "../../devices/disk_queue.ts";
import { Unit } from "./unit.ts";

export default definePlugin({
  async start(ctx: Ctx, reason: StartReason) {
    const units = new Units(ctx);
    ctx.defer(() => units.detachAll());
    for (const text of (ctx.options.disks ?? []) as string[]) {
      const [first = "", ...words] = tokenize(text), [, name, file] = /^([^=]+)=(.+)$/s.exec(first) ?? [];
      if (name === undefined) throw new Err("EINVAL", `"${excerpt(text)}" is no NAME=FILE`);
      await units.attach(name, file, words, reason !== "fresh");
    }
    const sdctl = ctl({
      "attach name file words...": {
        help: "[ro] [direct] [inflight=N]: a file or device of the host, or ram!BYTES, becomes the disk `name`",
        run: (name, file, words) => units.attach(name, file, words, false),
      },
      "detach name [force]": {
        help: "lets a disk go; with force also when files of it are open",
        run: (name, force) => units.detach(name, force === "force"),
      },
    }, { read: () => units.text() });
    return tree(
      dynamic({
        list: () => ["sdctl", ...units.names()],
        get: (name) => name === "sdctl" ? sdctl : units.get(name)?.dir,
      }),
      ctx,
    );
  },
});

/** All disks, by name. */
class Units {
  readonly #ctx: Ctx;
  readonly #units = new Map<string, Unit>();
  readonly #attaching = new Set<string>();

  constructor(ctx: Ctx) {
    this.#ctx = ctx;
  }

  names(): Iterable<string> {
    return this.#units.keys();
  }

  get(name: string): Unit | undefined {
    return this.#units.get(name);
  }

  /** A line a disk. */
  text(): string {
    return [...this.#units.values()].map(({ name, path, disk }) =>
      `${name} ${disk.readOnly ? "ro" : "rw"} ${disk.size} ${path}\n`
    ).join("");
  }

  async attach(name: string, file: string, words: string[], takeOver: boolean): Promise<void> {
    if (!/^sd[A-Za-z0-9]{2}$/.test(name)) {
      throw new Err("EINVAL", `"${excerpt(name)}" is no name of a disk (try: sdF0)`);
    }
    if (this.#units.has(name) || this.#attaching.has(name)) throw new Err("EEXIST", `there is a disk ${name} already`);
    this.#attaching.add(name);
    try {
      const owned = await this.#own(name, file, words, takeOver);
      try {
        this.#units.set(name, await Unit.make(name, file, owned, (text) => this.#ctx.log(text)));
      } catch (thrown) {
        await owned.release();
        throw thrown;
      }
    } catch (thrown) {
      const err = toErr(thrown);
      throw new Err(err.code, `cannot attach ${file} as ${name}: ${err.message}`, { cause: err });
    } finally {
      this.#attaching.delete(name);
    }
  }

  async detach(name: string, force: boolean): Promise<void> {
    const unit = this.#units.get(name);
    if (!unit) throw new Err("ENOENT", `no disk is called ${excerpt(name)}`);
    if (unit.opens > 0 && !force) throw new Err("EBUSY", `files of ${name} are open (try: detach ${name} force)`);
    this.#units.delete(name);
    try {
      await unit.quiesce(new Err("ESTALE", `the disk ${name} was detached`));
    } finally {
      await unit.release();
    }
  }

  async detachAll(): Promise<void> {
    for (const name of [...this.#units.keys()]) {
      await this.detach(name, true).catch((e) => this.#ctx.log(`${name}: detaching: ${toErr(e).message}`));
    }
  }

  async #own(name: string, file: string, words: string[], takeOver: boolean): Promise<OwnedDisk> {
    const options = parseWords(words), ram = /^ram!(\d{1,15})$/.exec(file);
    if (ram) return { disk: new BlkRam(Number(ram[1])), release() {} };
    if (!file.startsWith("/")) {
      throw new Err("EINVAL", `"${excerpt(file, PATH_CHARS)}" is no path that begins with a slash`);
    }
    return await ownDisk((this.#ctx.kernel as Kernel | undefined)?.queues, {
      path: file,
      owner: this.#ctx.name,
      open: () => new BlkFile(file, options),
      takeOver,
      onRevoke: async () => {
        await this.#units.get(name)?.quiesce(new Err("ESTALE", `the disk ${name} was taken away`));
        this.#units.delete(name);
      },
    });
  }
}

function parseWords(words: string[]): { readOnly: boolean; direct: boolean; inFlight: number } {
  const options = { readOnly: false, direct: false, inFlight: 0 };
  for (const word of words) {
    const inFlight = /^inflight=(\d{1,3})$/.exec(word);
    if (word === "ro") options.readOnly = true;
    else if (word === "direct") options.direct = true;
    else if (inFlight) options.inFlight = Number(inFlight[1]);
    else throw new Err("EINVAL", `"${excerpt(word)}" is none of ro direct inflight=`);
  }
  return options;
}
