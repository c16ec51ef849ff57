/**
 * Jail: the walls around a plugin's process: Deno's permission flags, and bubblewrap, a seccomp filter and a memory
 * cgroup where this host has them and they work.
 *
 * Layer: core/host, in the kernel isolate. It makes the command line; process.ts runs it. In bubblewrap the process
 * sees the system's programs and libraries, the core's own code, and the paths of its manifest, and has namespaces of
 * its own for all else.
 *
 * See bwrap(1), cgroups(7), `deno run --help`.
 */

import { Err, toErr } from "../err.ts";
import { libcPath } from "./libc.ts";
import { type FilterOptions, filterProgram } from "./seccomp.ts";

/** Deno's permissions, as a manifest names them: all of a kind, or a list. */
export type Permissions = Partial<Record<PermissionKind, boolean | readonly string[]>>;
/** Kinds of permission that a manifest may ask for. */
export type PermissionKind = typeof KINDS[number];

const KINDS = ["read", "write", "net", "env", "sys", "run", "ffi"] as const;

/** What every program needs to see. */
const SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache"];
/** What a program that uses the network reads. */
const NETWORK = ["resolv.conf", "hosts", "host.conf", "nsswitch.conf", "services", "ssl", "ca-certificates", "pki"];

/** Where the filter may be written for a moment: the temporary directory, and memory. */
const SCRATCH = [undefined, "/dev/shm"];

/** Joins the cgroup, opens the filter for bubblewrap and leaves no name of it behind, and becomes the program. */
const SCRIPT = `cgroup=$1 filter=$2; shift 2; ulimit -c 0
[ -z "$cgroup" ] || echo $$ >"$cgroup/cgroup.procs" || exit 125
[ -z "$filter" ] || { exec 9<"$filter"; rm -f "$filter"; }
exec "$@"`;

/** What is to run, and what it may. */
export interface JailSpec {
  readonly name: string;
  readonly permissions: Permissions;
  readonly heapMb: number;
  /** What it may have beside its heap before the cgroup ends it, MiB: Deno itself, and array buffers. */
  readonly memoryMb: number;
  /** Paths beside the system's that it may read: the core's code. */
  readonly readable: readonly string[];
  /** The program, after `deno run FLAGS`. */
  readonly script: string;
}

/** A filter for a program that has none from outside. */
export interface OwnFilter extends FilterOptions {
  /** The C library. FFI for this file is permitted until it is given up. */
  readonly library: string;
}

/** A command line with its walls. */
export interface Jail {
  readonly command: string;
  readonly args: string[];
  readonly env: Record<string, string>;
  /** For status: `deno permissions, bubblewrap, seccomp, memory cgroup 512 MiB`. */
  readonly walls: string;
  /** The filter that the program has to put on by itself, before it does anything else; null when it has one. */
  readonly filter: OwnFilter | null;
  /** Removes what was made for it. Called once the process has gone. */
  dispose(): void;
}

/** Builds the walls for one process. Throws EINVAL for a permission that is none, ENOSPC where the filter has no room. */
export async function makeJail(spec: JailSpec): Promise<Jail> {
  const walls = ["deno permissions"];
  const v8 = `--v8-flags=--no-turboshaft-loop-unrolling,--max-old-space-size=${spec.heapMb}`;
  const deno = [Deno.execPath(), "run", "--quiet", "--no-prompt", "--no-npm", "--no-remote", "--no-config", v8];
  const wrapped = await bubblewrapWorks(), own = wrapped ? null : ownFilter(spec.permissions);
  let command = [...deno, ...permissionFlags(withLibrary(spec.permissions, own)), spec.script], filter = "";
  if (wrapped) {
    filter = filterFile(spec.permissions);
    command = ["bwrap", ...bubbleArgs(spec), ...(filter ? ["--seccomp", "9"] : []), "--", ...command];
    walls.push("bubblewrap", ...(filter ? ["seccomp"] : []));
  }
  const cgroup = memoryCgroup(spec);
  if (cgroup) walls.push(`memory cgroup ${spec.heapMb + spec.memoryMb} MiB`);
  return {
    command: "/bin/sh",
    args: ["-c", SCRIPT, "ring9", cgroup, filter, ...command],
    env: environment(spec.permissions),
    walls: walls.join(", "),
    filter: own,
    dispose: () => {
      if (filter) removeQuietly(filter);
      if (cgroup) removeQuietly(cgroup);
    },
  };
}

/** The manifest's permissions as flags of `deno run`. */
export function permissionFlags(permissions: Permissions): string[] {
  const flags: string[] = [];
  for (const [kind, value] of Object.entries(permissions)) {
    if (!(KINDS as readonly string[]).includes(kind)) throw new Err("EINVAL", `${kind} is not a permission of Deno`);
    if (value === true) flags.push(`--allow-${kind}`);
    if (!Array.isArray(value) || value.length === 0) continue;
    const bad = value.find((item) => typeof item !== "string" || item === "" || item.includes(","));
    if (bad !== undefined) throw new Err("EINVAL", `permission ${kind}: ${JSON.stringify(bad)} can not be in a list`);
    flags.push(`--allow-${kind}=${value.join(",")}`);
  }
  return flags;
}

let bubblewrap: Promise<boolean> | undefined;

/** Whether bubblewrap is there and may make namespaces: tried once. */
function bubblewrapWorks(): Promise<boolean> {
  return bubblewrap ??= tryBubblewrap();
}

async function tryBubblewrap(): Promise<boolean> {
  const args = [
    "--ro-bind",
    "/",
    "/",
    "--unshare-all",
    "--die-with-parent",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "true",
  ];
  try {
    return (await new Deno.Command("bwrap", { args, stdout: "null", stderr: "null" }).output()).success;
  } catch {
    return false; // it is not installed
  }
}

function bubbleArgs({ permissions, readable }: JailSpec): string[] {
  const { read, write, net } = permissions;
  const args = ["--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--chdir", "/"];
  const bind = (how: string, paths: readonly string[]) => paths.forEach((path) => args.push(how, path, path));
  if (write === true) bind("--bind", ["/"]);
  else if (read === true) bind("--ro-bind", ["/"]);
  else bind("--ro-bind-try", SYSTEM);
  args.push("--proc", "/proc", "--dev", "/dev");
  if (write !== true) args.push("--tmpfs", "/tmp");
  if (net) args.push("--share-net");
  if (net) bind("--ro-bind-try", NETWORK.map((name) => `/etc/${name}`));
  bind("--ro-bind-try", [Deno.execPath(), denoDir(), ...readable]);
  if (Array.isArray(read)) bind("--ro-bind-try", read);
  if (Array.isArray(write)) bind("--bind-try", write);
  return args;
}

/**
 * A file with the filter's program, for bubblewrap to read; empty on a machine that none can be made for. Throws where it
 * can not be written: a disk that is full must not take a wall away.
 */
function filterFile({ net }: Permissions): string {
  let program: Uint8Array;
  try {
    program = filterProgram({ arch: Deno.build.arch, exec: true, network: Boolean(net) });
  } catch {
    return ""; // `walls` says that there is none
  }
  const faults: string[] = [];
  for (const dir of SCRATCH) {
    let path = "";
    try {
      path = Deno.makeTempFileSync({ dir, prefix: "ring9-", suffix: ".seccomp" });
      Deno.writeFileSync(path, program);
      return path;
    } catch (e) {
      if (path) removeQuietly(path);
      faults.push(toErr(e).message);
    }
  }
  throw new Err("ENOSPC", `cannot write the process's seccomp filter: ${faults.join("; ")} (try: another TMPDIR)`);
}

/** The filter for a process that bubblewrap does not start; null where the C library is not found. */
function ownFilter({ net, run }: Permissions): OwnFilter | null {
  const library = libcPath();
  if (!library) return null; // `walls` says that there is none
  return {
    library,
    arch: Deno.build.arch,
    exec: Array.isArray(run) ? run.length > 0 : Boolean(run),
    network: Boolean(net),
  };
}

/** The permissions with what the filter takes; a process that may have all of FFI has that anyway. */
function withLibrary(permissions: Permissions, own: OwnFilter | null): Permissions {
  if (!own || permissions.ffi === true) return permissions;
  const paths = Array.isArray(permissions.ffi) ? permissions.ffi : [];
  return { ...permissions, ffi: [own.library, ...paths] };
}

let cgroupCount = 0;

/** A new cgroup below our own that limits memory: its folder, or empty where that can not be had. */
function memoryCgroup({ heapMb, memoryMb }: JailSpec): string {
  const bytes = String((heapMb + memoryMb) * 2 ** 20);
  for (const { folder, limit } of memoryControllers()) {
    const made = `${folder}/ring9-${Deno.pid}-${++cgroupCount}`;
    try {
      Deno.mkdirSync(made);
    } catch {
      continue;
    }
    try {
      Deno.writeTextFileSync(`${made}/${limit}`, bytes);
      return made;
    } catch {
      removeQuietly(made);
    }
  }
  return "";
}

/** Where our own cgroups that may limit memory lie: version 1's, then version 2's. */
function memoryControllers(): { folder: string; limit: string }[] {
  let lines: string[];
  try {
    lines = Deno.readTextFileSync("/proc/self/cgroup").split("\n");
  } catch {
    return [];
  }
  const found: { folder: string; limit: string }[] = [];
  for (const line of lines) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const at = path === "/" ? "" : path;
    if (controllers === "memory") found.push({ folder: `/sys/fs/cgroup/memory${at}`, limit: "memory.limit_in_bytes" });
    if (controllers === "") found.push({ folder: `/sys/fs/cgroup${at}`, limit: "memory.max" });
  }
  return found;
}

/** What the process sees of our environment: what it needs to run, and what its manifest names. */
function environment({ env }: Permissions): Record<string, string> {
  const seen: Record<string, string> = env === true ? Deno.env.toObject() : {};
  for (const name of Array.isArray(env) ? env : []) {
    const value = Deno.env.get(name);
    if (value !== undefined) seen[name] = value;
  }
  return { PATH: "/usr/bin:/bin", ...seen, DENO_DIR: denoDir(), DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" };
}

/** Where Deno keeps what it has compiled. */
function denoDir(): string {
  const home = Deno.env.get("HOME") ?? "/root", cache = Deno.env.get("XDG_CACHE_HOME") ?? `${home}/.cache`;
  return Deno.env.get("DENO_DIR") ?? `${cache}/deno`;
}

function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // gone already, or a cgroup whose last process is on its way out: a leftover, not a fault
  }
}
