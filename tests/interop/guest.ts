/**
 * A Linux guest: boots Debian's kernel in QEMU, runs a shell script in it, and answers what it printed.
 *
 * Layer: tests/interop. The guest has busybox, the modules of a 9P mount, `probe` and `fsx` (guest/*.c), an address,
 * and the host's loopback at 10.0.2.2. It has nothing else: no disk, no way out, and it ends with the script.
 *
 * The kernel's own words come on the first serial line, the script's on the second, so neither cuts the other.
 * Emulated (`-accel tcg`), so it needs no permission; it boots, mounts and ends in about three seconds.
 */

import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { type CpioEntry, writeCpio } from "./cpio.ts";
import { cached, cacheDir, compileC, contentHash, exists, missingPrograms, programPath } from "./host.ts";
import { debianKernel, type Kernel, kernelMissing, unpackPackage } from "./kernel.ts";

/** The programs of the host that a guest takes; all are in `tools/apt-packages.txt`. */
export const GUEST_PROGRAMS = ["qemu-system-x86_64", "gcc", "apt-get", "apt-cache", "dpkg-deb", "xz"] as const;

const SCRIPTS = fileURLToPath(new URL("./guest", import.meta.url));
const EXIT_LINE = /^ring9-guest-exit (\d+)$/m;

/** What to run in a guest. */
export interface GuestJob {
  /** Shell script for busybox's `sh`; it starts in `/job`. */
  script: string;
  /** More files of `/job`. */
  files?: Record<string, string | Uint8Array>;
  /** More of the whole file system. */
  entries?: CpioEntry[];
  /** One, when not given. */
  cpus?: number;
  /** What QEMU's `-cpu` takes; its default has nothing younger than SSE3. */
  cpu?: string;
  /** 512, when not given. */
  memoryMb?: number;
  /** Environment of the script. */
  env?: Record<string, string>;
  /** The guest is ended after this. */
  timeoutMs: number;
}

/** What a guest left. */
export interface GuestResult {
  /** The script's exit status. */
  status: number;
  /** What the script printed, both streams. */
  output: string;
  /** What the kernel printed. */
  kernelLog: string;
}

/** Why no guest can be booted here; undefined when one can. */
export function guestMissing(): string | undefined {
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") return "needs Linux on x86_64";
  const missing = missingPrograms(...GUEST_PROGRAMS);
  return missing.length > 0 ? `needs the programs ${missing.join(", ")}` : kernelMissing();
}

/**
 * Boots a guest, runs `job` in it and powers it off.
 * Throws, with all that was printed, if the guest dies or takes too long.
 */
export async function runGuest(job: GuestJob): Promise<GuestResult> {
  const kernel = await debianKernel();
  const base = await baseInitramfs(kernel);
  const scratch = await Deno.makeTempDir({ prefix: "ring9-guest-" });
  try {
    const initrd = join(scratch, "initrd"), log = join(scratch, "kernel.log");
    await Deno.copyFile(base, initrd);
    await Deno.writeFile(initrd, writeCpio(jobEntries(job)), { append: true });
    const output = await boot({ kernel: kernel.image, initrd, log }, job);
    const kernelLog = (await Deno.readTextFile(log)).replace(/^.*Booting from ROM\.+/s, "");
    const exit = EXIT_LINE.exec(output);
    if (!exit) throw new Error(`the guest died or took over ${job.timeoutMs} ms:\n${output}\n${kernelLog}`);
    return { status: Number(exit[1]), output: output.slice(0, exit.index), kernelLog };
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

async function boot(
  { kernel, initrd, log }: { kernel: string; initrd: string; log: string },
  { cpus = 1, cpu = "qemu64", memoryMb = 512, timeoutMs }: GuestJob,
): Promise<string> {
  const size = ["-m", String(memoryMb), "-smp", String(cpus)];
  // One thread for all CPUs: with one each, a kernel that patches its own code while it boots dies now and then.
  const machine = ["-accel", "tcg,thread=single", "-cpu", cpu, ...size, "-nodefaults", "-nographic", "-no-reboot"];
  const serial = ["-serial", `file:${log}`, "-serial", "stdio"];
  const network = ["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,romfile="];
  const linux = ["-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 mitigations=off"];
  const qemu = new Deno.Command(programPath("qemu-system-x86_64")!, {
    args: [...machine, ...serial, ...network, ...linux],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(timeoutMs),
  });
  const { stdout, stderr } = await qemu.output();
  const decoder = new TextDecoder();
  return decoder.decode(stdout) + decoder.decode(stderr);
}

/** The part of the initramfs that is the same for every job, kept by its content. */
async function baseInitramfs(kernel: Kernel): Promise<string> {
  const entries: CpioEntry[] = ["bin", "dev", "proc", "sys", "tmp", "mnt", "job", "modules"].map((path) => ({ path }));
  entries.push({ path: "init", data: await Deno.readFile(join(SCRIPTS, "init.sh")) });
  entries.push({ path: "bin/busybox", data: await Deno.readFile(await busybox()) });
  for (const tool of ["fsx", "probe"]) {
    const program = await compileC(join(SCRIPTS, `${tool}.c`), ["-static"]);
    entries.push({ path: `bin/${tool}`, data: await Deno.readFile(program) });
  }
  for (const { name, data } of kernel.modules) entries.push({ path: `modules/${name}`, data });
  const archive = writeCpio(entries);
  return await cached(`initramfs-${contentHash(archive)}`, (path) => Deno.writeFile(path, archive));
}

async function busybox(): Promise<string> {
  const dir = join(cacheDir(), "busybox");
  if (!await exists(dir)) {
    const scratch = await Deno.makeTempDir({ dir: cacheDir() });
    await unpackPackage("busybox-static", scratch);
    await Deno.rename(scratch, dir);
  }
  for (const path of ["bin/busybox", "usr/bin/busybox"]) if (await exists(join(dir, path))) return join(dir, path);
  throw new Error("no busybox in Debian's busybox-static");
}

function jobEntries(job: GuestJob): CpioEntry[] {
  const env = Object.entries(job.env ?? {}).map(([name, value]) => `export ${name}=${shellQuote(value)}\n`).join("");
  const entries: CpioEntry[] = [{ path: "job/env", data: env }, { path: "job/run", data: job.script }];
  for (const [name, data] of Object.entries(job.files ?? {})) entries.push({ path: `job/${name}`, data });
  return [...job.entries ?? [], ...entries];
}

function shellQuote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
