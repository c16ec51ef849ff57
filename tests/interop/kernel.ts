/**
 * Debian's kernel for the guest: its image as a plain ELF, and the modules that a 9P mount over TCP takes.
 *
 * Layer: tests/interop. The package is downloaded by apt and unpacked into the cache directory: no kernel is
 * installed on the host. `linux-image-cloud-amd64` has no 9P, so it is the plain `linux-image-amd64`.
 *
 * The image is taken out of its bzImage so that QEMU enters it directly (PVH): unpacking it under emulation would
 * take longer than the whole boot.
 *
 * See Documentation/arch/x86/boot.rst of Linux for the header's fields.
 */

import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { cached, cacheDir, exists, must, runBytes } from "./host.ts";

/** The package that names the current kernel; RING9_GUEST_KERNEL names another. */
const META_PACKAGE = Deno.env.get("RING9_GUEST_KERNEL") ?? "linux-image-amd64";
/** Its place in the cache. */
const KEPT = META_PACKAGE.replace(/^linux-image-amd64$/, "kernel");

/** Modules the guest asks for; those they need come with them. */
const WANTED = ["virtio_pci", "virtio_net", "9pnet_fd", "9p"];

/** A kernel that can be booted. */
export interface Kernel {
  /** Its image, for QEMU's `-kernel`. */
  image: string;
  /** Modules in the order in which to insert them. */
  modules: KernelModule[];
}

/** A module's file name and its ELF. */
export interface KernelModule {
  name: string;
  data: Uint8Array;
}

/** Debian's current kernel, from the cache or by `apt-get download`. */
export async function debianKernel(): Promise<Kernel> {
  const image = await cached(`${KEPT}/vmlinux`, keepKernel);
  const dir = join(cacheDir(), KEPT, "modules");
  const files = (await list(dir)).sort();
  const modules = files.map(async (name) => ({ name, data: await Deno.readFile(join(dir, name)) }));
  return { image, modules: await Promise.all(modules) };
}

/** Why there is no kernel to be had; undefined when it is in the cache, or apt knows the package. */
export function kernelMissing(): string | undefined {
  try {
    if (Deno.statSync(join(cacheDir(), KEPT, "vmlinux")).isFile) return undefined;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const { code } = new Deno.Command("apt-cache", { args: ["show", META_PACKAGE], stdout: "null", stderr: "null" })
    .outputSync();
  return code === 0 ? undefined : `needs ${META_PACKAGE} in apt's lists (try: apt-get update)`;
}

/** Takes out of the package what a guest needs, a hundredth of it: the image to `path`, the modules beside it. */
async function keepKernel(path: string): Promise<void> {
  const dir = join(path, "../modules");
  const scratch = await Deno.makeTempDir();
  try {
    await unpackPackage(await kernelPackage(), scratch);
    const release = only(await list(join(scratch, "lib/modules")), "kernel release");
    if (await exists(dir)) await Deno.remove(dir, { recursive: true });
    await Deno.mkdir(dir);
    for (const [index, module] of (await modulesInOrder(join(scratch, "lib/modules", release))).entries()) {
      await Deno.writeFile(join(dir, `${String(index).padStart(2, "0")}-${module.name}.ko`), module.data);
    }
    const boot = join(scratch, "boot");
    const name = only((await list(boot)).filter((file) => file.startsWith("vmlinuz")), "vmlinuz");
    await Deno.writeFile(path, await unpackImage(await Deno.readFile(join(boot, name))));
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

/** Downloads a Debian package and unpacks it into `dir`. */
export async function unpackPackage(name: string, dir: string): Promise<void> {
  const scratch = await Deno.makeTempDir();
  try {
    await must("apt-get", ["download", "-q", name], { cwd: scratch, timeoutMs: 120_000 });
    const deb = only((await list(scratch)).filter((file) => file.endsWith(".deb")), "package");
    await must("dpkg-deb", ["-x", join(scratch, deb), dir]);
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

async function kernelPackage(): Promise<string> {
  const depends = await must("apt-cache", ["depends", META_PACKAGE]);
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (!name) throw new Error(`apt-cache depends ${META_PACKAGE} names no kernel (try: apt-get update)`);
  return name;
}

/** The ELF inside a bzImage; the bzImage itself where its compression is not known here. */
async function unpackImage(bz: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const view = new DataView(bz.buffer);
  const setupSects = bz[0x1f1] || 4;
  const start = (setupSects + 1) * 512 + view.getUint32(0x248, true);
  // The last four bytes are the size of the unpacked image, which the decompressors would take for rubbish.
  const payload = bz.subarray(start, start + view.getUint32(0x24c, true) - 4);
  switch (view.getUint32(start, false)) {
    case 0xfd377a58:
      return await unxz(payload);
    case 0x28b52ffd:
      return zstdDecompressSync(payload);
    default:
      return bz;
  }
}

async function modulesInOrder(dir: string): Promise<KernelModule[]> {
  const paths = new Map<string, string>();
  for (const line of (await Deno.readTextFile(join(dir, "modules.order"))).trim().split("\n")) {
    paths.set(moduleName(line), join(dir, line));
  }
  const ordered = new Map<string, KernelModule>();
  const add = async (name: string) => {
    const path = paths.get(name);
    if (path === undefined || ordered.has(name)) return;
    const data = await readModule(path);
    for (const needed of moduleDepends(data)) await add(needed);
    ordered.set(name, { name, data });
  };
  for (const name of WANTED) await add(name);
  return [...ordered.values()];
}

/** A module as the kernel takes it: newer Debians pack them with xz. */
async function readModule(path: string): Promise<Uint8Array> {
  return await exists(path) ? await Deno.readFile(path) : await unxz(await Deno.readFile(path + ".xz"));
}

/** The names in a module's own `depends=` field. */
function moduleDepends(module: Uint8Array): string[] {
  const text = new TextDecoder("latin1").decode(module);
  const field = /\0depends=([^\0]*)\0/.exec(text)?.[1];
  return field ? field.split(",").map(moduleName) : [];
}

function moduleName(path: string): string {
  return path.replace(/^.*\//, "").replace(/\.ko$/, "").replaceAll("-", "_");
}

async function unxz(packed: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const { status, stdout, stderr } = await runBytes("xz", ["-dc"], { stdin: packed });
  if (status !== 0) throw new Error(`xz: ${stderr}`);
  return stdout;
}

async function list(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map((entry) => entry.name);
}

function only(names: string[], what: string): string {
  if (names.length !== 1) throw new Error(`expected one ${what}, found: ${names.join(", ") || "none"}`);
  return names[0];
}
