/**
 * A disk with an empty ext2 volume, and an image that boots with it at `/tmp`.
 *
 * Layer: tests and bench.
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { BlkFile } from "../devices/blkfile.ts";
import { Ext2 } from "../fs/ext2/fs.ts";
import { mkfs } from "../fs/ext2/mkfs.ts";

const DEFAULT_IMAGE = fileURLToPath(new URL("../images/default", import.meta.url));

/** Makes a file with a volume whose root anybody may write in, as `/tmp` is. */
export async function makeDisk(path: string, bytes: number): Promise<void> {
  const disk = BlkFile.create(path, bytes), now = Date.now();
  await mkfs(disk, { uuid: crypto.getRandomValues(new Uint8Array(16)), now, zeroed: true });
  const fs = await Ext2.open(disk, { now: () => Date.now() });
  await fs.setattr(fs.root, { mode: 0o1777 });
  await fs.close();
  await disk.close();
}

/** Makes a folder with the default image, but for its disk: the volume `usr` on `disk` at `/tmp`. Answers the folder. */
export async function makeImage(dir: string, disk: string, words = ""): Promise<string> {
  const image = JSON.parse(await Deno.readTextFile(join(DEFAULT_IMAGE, "image.json")));
  delete image.$schema;
  image.plugins = image.plugins.filter(({ plugin }: { plugin: string }) => plugin !== "ext2");
  image.plugins.push({ plugin: "ext2", options: { volumes: [`usr='${disk}' ${words}`] } });
  const lines = (await Deno.readTextFile(join(DEFAULT_IMAGE, "namespace")))
    .replace("bind -c '#ext2.usr' /usr\n", "").replace("'#ram' /tmp", "'#ext2.usr' /tmp");
  await Deno.writeTextFile(join(dir, "image.json"), JSON.stringify(image));
  await Deno.writeTextFile(join(dir, "namespace"), `${lines}\nbind '#ext2' /n/ext2\n`);
  return dir;
}
