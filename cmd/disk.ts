/**
 * disk: ext2 disks and archives from the command line: made, filled, packed, checked.
 *
 * Layer: cmd, a program; over fs (ext2, tar) and devices/blkfile. The commands are in disk_commands.ts. What fails is said
 * on standard error; the exit status is then 1, of a wrong command line 2, and of `fsck` e2fsck's.
 */

import { toErr } from "../core/err.ts";
import { EX_USAGE, readArgs, UsageError } from "./args.ts";
import { COMMANDS, type DiskFlags } from "./disk_commands.ts";

const HELP = `disk: ext2 disks, and trees of files in and out of them

usage: deno task disk COMMAND [OPTIONS] ...

  mkfs FILE SIZE      a new disk with an empty volume; the file is sparse
  build FROM FILE     a new disk with a tree on it: same tree, same options, same bytes
  image IMAGE FOLDER  the disks of an image (a name in images/, or a path), as its first boot makes them: same image, same bytes
  pack FROM ARCHIVE   a tree into a tar file; a name that ends with gz or tgz is compressed, - is standard output
  unpack FROM TO      a tree's files into a folder, or onto a disk that is there; - is a tar file from standard input
  fsck FILE           looks for damage       --repair mends what is safe to mend

FROM is a folder, a disk, or an archive. SIZE is 64M, 2G ...

options
  --size SIZE        the disk's size; build: what the tree needs, and a quarter more; image: what the image says
  --owner UID:GID    whose all files are; build: 0:0 if not said, else as they were
  --time SECONDS     nothing is later than that since 1970 ($SOURCE_DATE_EPOCH); image: that is all files' time, or 0
  --label NAME       of the volume, at most 16 bytes
  --uuid UUID        of the volume; build and image make it of tree and label, mkfs by chance
  --block BYTES      1024 to 65536
  --inode BYTES      128 or more
  --force            replace a file that is there
  --repair, --help

examples
  deno task disk mkfs usr.img 1G --label usr
  deno task disk image default out && sha256sum out/usr.img
  deno task disk pack root.img root.tar.gz
  deno task disk fsck root.img
`;

/** fsck(8): an operational error, a wrong command line. Its 1 is: mended. */
const FSCK_STATUSES = { failed: 8, usage: 16 };

const OPTIONS = {
  size: { type: "string" },
  owner: { type: "string" },
  time: { type: "string" },
  label: { type: "string" },
  uuid: { type: "string" },
  block: { type: "string" },
  inode: { type: "string" },
  force: { type: "boolean" },
  repair: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

/** Runs the program: its exit status. */
async function main(args: string[]): Promise<number> {
  const statuses = args.find((arg) => !arg.startsWith("-")) === "fsck" ? FSCK_STATUSES : { failed: 1, usage: EX_USAGE };
  try {
    // `deno task` runs in the project's folder, and tells where it was called.
    Deno.chdir(Deno.env.get("INIT_CWD") ?? ".");
    const { values, positionals } = readArgs({ args, options: OPTIONS, allowPositionals: true });
    if (values.help) {
      console.log(HELP);
      return 0;
    }
    return await run(positionals, values);
  } catch (thrown) {
    const isUsage = thrown instanceof UsageError;
    console.error(`disk: ${toErr(thrown).message}${isUsage ? " (try: deno task disk --help)" : ""}`);
    return isUsage ? statuses.usage : statuses.failed;
  }
}

async function run([name, ...words]: string[], flags: DiskFlags): Promise<number> {
  const command = COMMANDS.get(name ?? "");
  if (!command) throw new UsageError(name ? `no command "${name}"` : "a command is missing");
  if (words.length !== command.words) throw new UsageError(`${name} wants ${command.usage}`);
  return await command.run(words, flags);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
