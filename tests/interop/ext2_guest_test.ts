/**
 * A Linux guest on our ext2 by 9P: the whole suite of checks, then programs (cp, tar, git) and POSIX's cases. Afterwards
 * e2fsck finds the disk clean, and the kernel, mounting it by a loop device, sees what the guest saw.
 *
 * Needs what linux_guest_test.ts needs, and e2fsck; for the loop device, root. git is the host's, with its libraries.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeDisk, makeImage } from "../ext2_image.ts";
import { interop, noteSkipped, program } from "../skip.ts";
import { guestMissing } from "./guest.ts";
import { runScript, runSuite } from "./guest_suite.ts";
import { compileC, must, programPath, run } from "./host.ts";
import { startRing9, type TestServer } from "./servers.ts";

const SCRIPTS = fileURLToPath(new URL("./guest", import.meta.url));

const needs = [guestMissing, program("e2fsck")];

interop("Linux's kernel mounts our ext2 by 9P and passes the suite on it", { needs }, async (t) => {
  const suite = { dialects: "9p2000.L", caches: "none loose", fsxOperations: 500, native: false, lacks: "" };
  await onDisk(t, 128 << 20, (server) => runSuite(t, server, { ...suite, msize: 1 << 20 }));
});

interop(
  "programs of a guest work on our ext2, and the kernel by itself sees the same on the disk",
  { needs },
  async (t) => {
    let manifest = "";
    await onDisk(t, 32 << 20, async (server) => {
      manifest = await runPrograms(t, server);
    }, async (disk, dir) => {
      if (Deno.uid() !== 0) return noteSkipped(`${t.name} > the kernel's own view`, "needs root for a loop device");
      await t.step("the kernel's own view by a loop device is the guest's", async () => {
        assert.ok(manifest.split("\n").length > 120);
        assert.equal(await kernelsView(disk, dir), manifest);
      });
    });
  },
);

/** Boots a node with a new disk for `work`; then e2fsck looks at the disk, and `after`. */
async function onDisk(
  t: Deno.TestContext,
  bytes: number,
  work: (server: TestServer) => Promise<void>,
  after: (disk: string, dir: string) => Promise<void> = async () => {},
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "ring9-ext2-" }), disk = join(dir, "usr.img");
  try {
    await makeDisk(disk, bytes);
    {
      await using server = await startRing9({ args: ["--image", await makeImage(dir, disk)] });
      await work(server);
    }
    await t.step("e2fsck finds nothing", async () => {
      const { status, stdout } = await run("e2fsck", ["-fn", disk]);
      assert.equal(status, 0, stdout);
    });
    await after(disk, dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** cp, tar, git and POSIX's cases in a guest; answers the manifest of what was left. */
async function runPrograms(t: Deno.TestContext, server: TestServer): Promise<string> {
  const git = await gitFiles(), as = await Deno.readFile(await compileC(join(SCRIPTS, "as.c"), ["-static"]));
  if (!git) noteSkipped(`${t.name} > git`, "needs the program git");
  const files = ["checks.sh", "posix.sh"], env = { GIT: git ? "1" : "" };
  const job = { script: "ext2.sh", files, data: { ...git, as }, env, msize: 1 << 19, timeoutMs: 900_000 };
  const output = await runScript(t, server, job);
  return /^manifest begins\n(.*)^manifest ends$/ms.exec(output)?.[1].trim() ?? "";
}

/** The host's git with its libraries and their loader. */
async function gitFiles(): Promise<Record<string, Uint8Array> | undefined> {
  const git = programPath("git");
  if (!git) return undefined;
  const files: Record<string, Uint8Array> = { git: await Deno.readFile(git) };
  for (const [, path] of (await must("ldd", [git])).matchAll(/(\/\S+)\s+\(0x/g)) {
    const name = path.split("/").at(-1)!;
    files[name.startsWith("ld-linux") ? "ld.so" : name] = await Deno.readFile(path);
  }
  return files;
}

/** The same manifest of the tree, as the kernel's ext4 driver has it. */
async function kernelsView(disk: string, dir: string): Promise<string> {
  const mount = join(dir, "mnt");
  await Deno.mkdir(mount);
  const script =
    `mount -o loop,ro '${disk}' '${mount}' && . '${SCRIPTS}/posix.sh' && cd '${mount}/ext2/kept' && manifest`;
  const shell = ["--mount", "--propagation", "private", "sh", "-ec", script];
  return (await must("unshare", shell, { timeoutMs: 60_000 })).trim();
}
