/**
 * ext2 through 9P: ring9's own on a disk in memory, beside Debian's diod on the kernel's ext2 by a loop device, in one run.
 *
 * Layer: bench. Both disks are files in /dev/shm, made by mke2fs with the same options. `c/p9load.c` pipelines reads, writes
 * and walks; then a client of ours makes, writes and removes small files, 16 in flight. Needs root (for the loop device;
 * it runs in a mount name space of its own), mke2fs and diod. Only ratios within one run mean anything.
 *
 * usage: deno run -A bench/ext2_9p_bench.ts [--runs 5] [--seconds 1] [--only CASE]
 */

import { join } from "node:path";
import { dial } from "../core/host/transports.ts";
import { Client } from "../core/p9/client.ts";
import { ORDWR } from "../core/p9/types.ts";
import { makeImage } from "../tests/ext2_image.ts";
import { compileC, must, ROOT } from "../tests/interop/host.ts";
import { startRing9, startServer, type TestServer } from "../tests/interop/servers.ts";
import { cpus, program, root } from "../tests/skip.ts";
import { count, need, onOff, partOf, readFlags, run, seconds } from "./flags.ts";
import { CASES, median, printRow, runCase } from "./p9_load.ts";

const SMALL_FILES = "small files";
const values = readFlags("ext2_9p", {
  runs: count(5),
  seconds: seconds(1),
  only: partOf(() => [...CASES.map(({ name }) => name), SMALL_FILES]),
  inside: onOff(),
});
need("ext2_9p", root, cpus(2), ...["unshare", "mke2fs", "diod", "gcc", "taskset"].map(program));

const PREFIX = ["taskset", "-c", "0"], CLIENT_CPU = "1", DISK_MIB = 512;
const FILES = 1000, IN_FLIGHT = 16;

if (values.inside) await run("ext2_9p", main);
else await enclose();

/** Runs this program again where its mounts are nobody else's. */
async function enclose(): Promise<void> {
  const again = [Deno.execPath(), "run", "-A", `${ROOT}/bench/ext2_9p_bench.ts`, "--inside", ...Deno.args];
  const args = ["--mount", "--propagation", "private", ...again];
  const { code } = await new Deno.Command("unshare", { args, stdout: "inherit", stderr: "inherit" }).output();
  Deno.exit(code);
}

async function main(): Promise<void> {
  const dir = await Deno.makeTempDir({ dir: "/dev/shm", prefix: "ring9-ext2-" });
  try {
    const p9load = await compileC(`${ROOT}/bench/c/p9load.c`);
    await using kernel = await kernelServer(dir);
    await using ours = await ourServer(dir);
    const servers = [kernel, ours];
    const how = { runs: values.runs, seconds: values.seconds, clientCpu: CLIENT_CPU };
    for (const bench of CASES.filter(({ name }) => !values.only || name.includes(values.only))) {
      const samples = await runCase(p9load, bench, servers, how);
      printRow({
        ...bench,
        results: servers.map(({ name }, i) => ({ server: name, ...median(samples[i], bench.unit) })),
      });
    }
    if (!values.only || SMALL_FILES.includes(values.only)) await smallFiles(servers);
  } finally {
    await must("sh", ["-c", `umount '${dir}/mnt' 2>/dev/null; rm -rf '${dir}'`]);
  }
}

async function makeDisk(path: string): Promise<void> {
  await must("mke2fs", ["-q", "-F", "-t", "ext2", "-b", "4096", "-E", "root_owner=0:0", path, `${DISK_MIB}M`]);
}

/** diod on the kernel's ext2. */
async function kernelServer(dir: string): Promise<TestServer> {
  const disk = join(dir, "kernel.img"), mount = join(dir, "mnt");
  await makeDisk(disk);
  await Deno.mkdir(mount);
  await must("mount", ["-t", "ext2", "-o", "loop", disk, mount]);
  await Deno.mkdir(join(mount, "work"));
  const listen = ["-l", "127.0.0.1:{port}", "-e", mount, "-e", "ctl"];
  const command = ["diod", "-f", "-n", "-S", "-U", "root", "-L", "stderr", ...listen];
  const what = { name: "diod, kernel", command, aname: mount, work: "work" };
  return await startServer(what, { prefix: PREFIX });
}

async function ourServer(dir: string): Promise<TestServer> {
  const disk = join(dir, "ours.img"), image = join(dir, "image");
  await makeDisk(disk);
  await Deno.mkdir(image);
  const server = await startRing9({ prefix: PREFIX, args: ["--image", await makeImage(image, disk)] });
  return { ...server, name: "ring9 ext2", [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** Makes, writes (1 KiB) and closes files, then removes them. */
async function smallFiles(servers: TestServer[]): Promise<void> {
  const rates = servers.map(() => ({ create: [] as number[], remove: [] as number[] }));
  for (let run = 0; run < values.runs; run++) {
    for (const [i, server] of servers.entries()) {
      const where = `${server.work}/small${run}`, data = new Uint8Array(1024).fill(run);
      await using client = await Client.connect(await dial(`tcp!${server.host}!${server.port}`), {
        uname: "root",
        uid: 0,
        aname: server.aname,
      });
      await client.mkdir(where);
      rates[i].create.push(
        await rate(async (n) => {
          const file = await client.create(`${where}/${n}`, 0o644, ORDWR);
          await file.write(data, 0);
          await file.close();
        }),
      );
      rates[i].remove.push(await rate((n) => client.remove(`${where}/${n}`)));
    }
  }
  for (const kind of ["create", "remove"] as const) {
    console.log(`\nsmall files, ${kind}${kind === "create" ? " and write 1 KiB" : ""}, ${IN_FLIGHT} in flight`);
    const medians = rates.map((r) => r[kind].toSorted((a, b) => a - b)[Math.floor(r[kind].length / 2)]);
    servers.forEach(({ name }, i) => {
      const ratio = (medians[i] / medians[0]).toFixed(2);
      console.log(
        `  ${name.padEnd(16)}${(medians[i] / 1000).toFixed(1).padStart(8)} thousand/s  ${ratio.padStart(5)}x`,
      );
    });
  }
}

/** Files a second. */
async function rate(each: (n: number) => Promise<void>): Promise<number> {
  const started = performance.now();
  let next = 0;
  await Promise.all(Array.from({ length: IN_FLIGHT }, async () => {
    while (next < FILES) await each(next++);
  }));
  return FILES / (performance.now() - started) * 1000;
}
