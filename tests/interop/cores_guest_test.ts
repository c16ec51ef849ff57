/**
 * Cores under cgroup v2: a node in a guest of three CPUs, whose kernel says what became of its partitions (guest/cores.sh).
 *
 * `RING9_GUEST_CORES=1 deno test -A tests/interop/cores_guest_test.ts`; with
 * `RING9_GUEST_KERNEL=linux-image-6.12-amd64` (of Debian's backports) partitions below a service are looked at, too. Needs
 * what linux_guest_test.ts needs. The guest has this Deno with its libraries, and the project's modules. Hosts on which
 * tests run seldom give cpusets of version 2 away, so this is the one place that shows them.
 */

import { dirname, join } from "node:path";
import { interop, type Need, program } from "../skip.ts";
import type { CpioEntry } from "./cpio.ts";
import { guestMissing, runGuest } from "./guest.ts";
import { judge } from "./guest_suite.ts";
import { must, ROOT } from "./host.ts";

/** Minutes of emulation are too much for each run of the tests. */
const wanted: Need = () =>
  Deno.env.has("RING9_GUEST_CORES") ? undefined : "takes minutes of emulation (try: RING9_GUEST_CORES=1)";

const FOLDERS = ["cmd", "core", "devices", "examples", "fs", "net", "plugins"];
const IMAGE = { name: "cores", plugins: [{ plugin: "root" }, { plugin: "sys" }] };

interop("a core of a node's own is an isolated partition of cgroup v2, which is gone after its end and after SIGKILL", {
  needs: [wanted, guestMissing, program("ldd")],
}, async (t) => {
  const files: CpioEntry[] = [
    { path: "job/image" },
    { path: "job/image/image.json", data: JSON.stringify(IMAGE) },
    { path: "job/image/namespace", data: "bind '#sys' /sys\n" },
  ];
  const entries = [...withFolders([...await denoFiles(), ...await projectFiles()]), ...files];
  const script = await Deno.readTextFile(new URL("guest/cores.sh", import.meta.url));
  const result = await runGuest({ script, entries, cpus: 3, cpu: "max", memoryMb: 1024, timeoutMs: 900_000 });
  await judge(t, "the guest", result);
});

/** Deno, its libraries and their loader, where they are here. */
async function denoFiles(): Promise<CpioEntry[]> {
  const libraries = (await must("ldd", [Deno.execPath()])).match(/\/\S+(?= \(0x)/g) ?? [];
  const files = libraries.map(async (path) => ({ path: path.slice(1), data: await Deno.readFile(path) }));
  return [{ path: "bin/deno", data: await Deno.readFile(Deno.execPath()) }, ...await Promise.all(files)];
}

/** What a node runs of this project, at /ring9. */
async function projectFiles(): Promise<CpioEntry[]> {
  const found: CpioEntry[] = [];
  const walk = async (folder: string) => {
    for await (const { name, isDirectory } of Deno.readDir(join(ROOT, folder))) {
      const path = `${folder}/${name}`;
      if (isDirectory) await walk(path);
      else if (/\.(ts|json|md)$/.test(name) && !name.endsWith("_test.ts")) found.push(await projectFile(path));
    }
  };
  for (const folder of FOLDERS) await walk(folder);
  return [...found, await projectFile("mod.ts"), await projectFile("deno.json")];
}

async function projectFile(path: string): Promise<CpioEntry> {
  return { path: `ring9/${path}`, data: await Deno.readFile(join(ROOT, path)) };
}

/** Files, each behind the folders that it lies in; `bin` is there already. */
function withFolders(files: CpioEntry[]): CpioEntry[] {
  const made = new Set([".", "bin"]), entries: CpioEntry[] = [];
  const make = (path: string) => {
    if (made.has(path)) return;
    make(dirname(path));
    made.add(path);
    entries.push({ path });
  };
  for (const file of files) {
    make(dirname(file.path));
    entries.push(file);
  }
  return entries;
}
