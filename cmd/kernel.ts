/**
 * The kernel isolate of a node that was booted from the command line: boots the image, tells how to reach it, and
 * gives the terminal a shell.
 *
 * Layer: cmd; a worker, started by the warden (boot.ts). The system itself is core/host/node.ts.
 */

import { fileURLToPath } from "node:url";
import { hostClock } from "../core/host/clock.ts";
import { imageFolder } from "../core/host/images.ts";
import { checkListen, makePrivateFolder, Node, type NodeEvents } from "../core/host/node.ts";
import { Warden } from "../core/host/spawn.ts";
import { Err, toErr } from "../core/err.ts";
import type { BootOptions } from "./boot.ts";
import { banner, denoCommand, diskLines, greeting, planLine } from "./banner.ts";
import { Shell } from "./sh.ts";

/** What boot.ts hands over. */
export interface KernelArgs
  extends Required<Omit<BootOptions, "socket" | "data">>, Pick<BootOptions, "socket" | "data"> {
  /** The folder that holds core/ and plugins/: a file: URL that ends with a slash. */
  project: string;
}

/** Exit status for what could not be booted: EX_CONFIG of sysexits(3). */
const EX_CONFIG = 78;
/** What the console does when it starts, if it is there. */
const PROFILE = "/usr/lib/profile";
const MAX_STATUS_BYTES = 1 << 16;
/** One Ctrl-C comes as several SIGINTs: the terminal's, and two that `deno task` hands on. */
const SAME_SIGNAL_MS = 500;
/** The number of SIGHUP. */
const HANGUP = 1;

const warden = await Warden.connect();
const args = warden.init as KernelArgs;
const begunMs = hostClock.monotonic();
let shell: Shell | null = null;
let shutdown: () => Promise<void> = () => warden.exit(0);

try {
  await boot();
} catch (e) {
  console.error(`ring9: cannot boot: ${toErr(e).message}`);
  await warden.exit(EX_CONFIG);
}

async function boot(): Promise<Node> {
  const say = args.quiet ? () => {} : console.log;
  const addresses: string[] = [];
  const events: NodeEvents = {
    image: (image) => say(greeting(image)),
    plugin: (inst) => say(planLine(inst)),
    namespace: (lines, ms) =>
      say(`  ${"name space".padEnd(12)} ${`${lines} lines`.padEnd(10)} ${ms.toFixed(1).padStart(7)} ms`),
    listening: (address) => addresses.push(address),
  };
  const { listen } = args, socket = socketPath();
  const image = fileURLToPath(imageFolder(new URL(args.project), args.image));
  const options = { cons: { terminal: args.console ? "host" : "none" }, ext2: { folder: dataFolder(), image } };
  const booted = await Node.boot({ project: args.project, image: args.image, listen, options }, warden, events);
  try {
    addresses.unshift(await listenPrivately(booted, socket, say));
  } catch (e) {
    await booted.close();
    throw e;
  }
  onSignals(booted);
  const disks = diskLines(await disksOf(booted));
  for (const line of disks) say(line);
  if (disks.length > 0 && dataFolder() === "") {
    say(`  ${"".padEnd(12)} neither HOME nor XDG_DATA_HOME begins with a slash (try: --data DIR)`);
  }
  const deno = denoCommand(Deno.execPath(), Deno.version.deno), user = booted.kernel.hostowner.name;
  say(banner(addresses, user, hostClock.monotonic() - begunMs, deno));
  for (const [name, text] of booted.kernel.reports) if (name.startsWith("notice.")) say(text().trimEnd());
  if (args.quiet) { for (const address of addresses) console.log(`listening ${address}`); }
  if (args.console) runShell(booted);
  return booted;
}

/** Serves a unix socket of the user's own; a second node of the same user gets one with its process id. */
async function listenPrivately(booted: Node, path: string, say: (text: string) => void): Promise<string> {
  try {
    return await booted.listen(`unix!${path}`);
  } catch (e) {
    if (args.socket !== undefined || toErr(e).code !== "EADDRINUSE") throw e;
    say(`  another node of yours is at unix!${path}`);
    return await booted.listen(`unix!${path}-${Deno.pid}`);
  }
}

/** What the plugin that has the disks says of them; empty in an image without it. */
async function disksOf({ init, supervisor }: Node): Promise<string> {
  if (!supervisor.get("ext2")) return "";
  const fd = await init.open("#ext2/status", 0), text = new Uint8Array(MAX_STATUS_BYTES);
  try {
    return new TextDecoder().decode(text.subarray(0, await init.read(fd, text)));
  } finally {
    await init.close(fd);
  }
}

/** Where the disks are kept: in the user's data directory; empty where there is none. */
function dataFolder(): string {
  const home = Deno.env.get("HOME"), data = Deno.env.get("XDG_DATA_HOME") || (home && `${home}/.local/share`);
  return args.data ?? (data?.startsWith("/") ? `${data}/ring9` : "");
}

/** The socket's path, where one can be made: that it is so is seen before anything runs. */
function socketPath(): string {
  const path = args.socket ?? defaultSocket();
  makePrivateFolder(path);
  checkListen(`unix!${path}`);
  return path;
}

/** In the runtime directory; without one in a folder of the user's own, where nobody else can have put it. */
function defaultSocket(): string {
  const runtime = Deno.env.get("XDG_RUNTIME_DIR");
  if (runtime) return `${runtime}/ring9/9p`;
  const folder = `/tmp/ring9-${Deno.uid() ?? 0}`;
  makePrivateFolder(`${folder}/9p`);
  const { isDirectory, uid, mode } = Deno.lstatSync(folder);
  if (!isDirectory || uid !== Deno.uid() || (mode ?? 0) & 0o077) {
    throw new Err("EACCES", `${folder} is not a folder of yours alone (try: --socket PATH)`);
  }
  return `${folder}/9p`;
}

/**
 * Ctrl-C stops the command that runs in the shell, or else the system; asked again, that ends at once. SIGTERM stops the
 * system, and so does SIGHUP, when the terminal goes; `deno task` may hand them on once more, which changes nothing.
 */
function onSignals(booted: Node): void {
  let stopping: Promise<void> | undefined, heardMs = -Infinity;
  const stop = async () => {
    tell("\nring9: stopping");
    await booted.close();
    await warden.exit(0);
  };
  shutdown = () => stopping ??= stop();
  Deno.addSignalListener("SIGINT", () => {
    if (hostClock.monotonic() - heardMs < SAME_SIGNAL_MS) return;
    heardMs = hostClock.monotonic();
    if (!shell?.interrupt()) void (stopping ? warden.exit(1) : shutdown());
  });
  Deno.addSignalListener("SIGTERM", () => void shutdown());
  if (!isIgnored(HANGUP)) Deno.addSignalListener("SIGHUP", () => void shutdown());
}

/** Says something to a terminal that may have gone. */
function tell(text: string): void {
  try {
    if (!args.quiet) console.log(text);
  } catch {
    // nobody is there to be told
  }
}

/** Whether who started this has a signal ignored, as nohup(1) does: see proc(5), SigIgn. */
function isIgnored(signal: number): boolean {
  const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(Deno.readTextFileSync("/proc/self/status"))?.[1] ?? "0";
  return (BigInt(`0x${mask}`) >> BigInt(signal - 1) & 1n) === 1n;
}

/** The shell is a proc like any other, on /dev/cons. */
function runShell(booted: Node): void {
  booted.init.spawn({
    name: "sh",
    env: "copy",
    async main(proc) {
      try {
        for (const mode of [0, 1, 1]) await proc.open("/dev/cons", mode);
      } catch (e) {
        console.error(
          `ring9: no prompt: ${toErr(e).message} (bind cons at /dev in the image, or boot with --no-console)`,
        );
        return toErr(e).message;
      }
      shell = new Shell(proc, booted.programs);
      await shell.runFile(PROFILE);
      const status = await shell.run();
      await shutdown();
      return status;
    },
  });
}
