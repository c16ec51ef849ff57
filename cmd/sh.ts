/**
 * The console's command loop: a few commands on the name space, each on one line, with `>` and `>>`.
 *
 * Layer: cmd, over Proc alone: all that it does is done with files. Words are quoted as in rc; `$name` is a variable
 * of the environment. What runs is interrupted by `interrupt`. A word that is no command is a program: by its path, or by
 * its name in /bin, where `.ts` need not be said.
 */

import { Err, toErr } from "../core/err.ts";
import { mountFlags } from "../core/nsfile.ts";
import { type Dir, DMDIR, OREAD, OWRITE } from "../core/p9/types.ts";
import type { Proc } from "../core/proc.ts";
import type { ProgramStarter } from "../core/proc_service.ts";
import { turn } from "../core/host/turn.ts";
import { parseLine, type Redirect } from "./sh_parse.ts";
import { runTop, topWords } from "./top.ts";

const IO_BYTES = 64 * 1024;
/** Where programs are that are called by name. */
const PROGRAMS = "/bin";

/** A command: its usage, a line of help, and what it does with its words. */
interface Command {
  usage: string;
  help: string;
  run(sh: Shell, words: string[], out: Out): Promise<void> | void;
}

/** Where a command's output goes. */
type Out = (data: string | Uint8Array) => Promise<void>;

/** A misuse of a command. */
class Usage extends Error {}

const COMMANDS: Record<string, Command> = {
  ls: { usage: "ls [-l] [path...]", help: "lists directories", run: ls },
  cat: {
    usage: "cat file...",
    help: "prints files",
    async run(sh, paths, out) {
      if (paths.length === 0) throw new Usage();
      for (const path of notFlags(paths)) {
        if ((await sh.proc.stat(path, sh.signal)).mode & DMDIR) {
          throw new Err("EISDIR", `${path}: is a directory (try ls)`);
        }
        await sh.copy(path, out);
      }
    },
  },
  echo: { usage: "echo [-n] word...", help: "prints words; `> file` and `>> file` send them there", run: echo },
  bind: {
    usage: "bind [-abc] new old",
    help: "shows the tree of new at old: after, before, creating there",
    async run(sh, words) {
      const [flags, [path, old]] = flagged(words, 2, 2);
      await sh.proc.bind(path, old, flags, sh.signal);
    },
  },
  mount: {
    usage: "mount [-abc] address|/srv/name old [tree]",
    help: "mounts a 9P server: tcp!host!port, unix!path, a posted service",
    async run(sh, words) {
      const [flags, [what, old, aname]] = flagged(words, 2, 3);
      await sh.proc.mount(what, old, flags, aname, sh.signal);
    },
  },
  unmount: {
    usage: "unmount [new] old",
    help: "takes one mount, or all, from old",
    async run(sh, words) {
      const [, [first, second]] = flagged(words, 1, 2);
      await sh.proc.unmount(second === undefined ? null : first, second ?? first, sh.signal);
    },
  },
  ns: {
    usage: "ns",
    help: "prints this name space as lines that rebuild it",
    run: (sh, _, out) => out(sh.proc.nsText()),
  },
  run: {
    usage: "run path [word...]",
    help: "runs a program in an isolate of its own; the path alone does, too",
    async run(sh, [path, ...words]) {
      if (path === undefined) throw new Usage();
      await sh.program(path, words);
    },
  },
  top: {
    usage: "top [-1] [seconds]",
    help: "shows cores, isolates and rings, again and again; -1 once",
    async run(sh, words, out) {
      const how = topWords(words);
      if (!how) throw new Usage();
      const read = async () => await sh.proc.readText("/sys/metrics", sh.signal);
      await runTop({ ...how, read, print: out, clear: how.frames > 1, signal: sh.signal });
    },
  },
  ps: { usage: "ps", help: "lists procs: owner, number, age, state, name", run: (sh, _, out) => ps(sh, out) },
  cd: {
    usage: "cd [directory]",
    help: "changes the current directory",
    run: (sh, [path = "/"]) => sh.proc.chdir(path, sh.signal),
  },
  pwd: { usage: "pwd", help: "prints the current directory", run: (sh, _, out) => out(`${sh.proc.cwd}\n`) },
  mkdir: {
    usage: "mkdir directory...",
    help: "makes directories",
    async run(sh, paths) {
      if (paths.length === 0) throw new Usage();
      for (const path of notFlags(paths)) {
        await sh.proc.close(await sh.proc.create(path, OREAD, (DMDIR | 0o777) >>> 0, { exclusive: true }));
      }
    },
  },
  rm: {
    usage: "rm file...",
    help: "removes files and empty directories",
    async run(sh, paths) {
      if (paths.length === 0) throw new Usage();
      for (const path of notFlags(paths)) await sh.proc.remove(path, sh.signal);
    },
  },
  help: { usage: "help", help: "prints this", run: (_, __, out) => out(helpText()) },
  exit: { usage: "exit", help: "stops the system", run: (sh) => void (sh.done = true) },
};

/** A shell on the files 0, 1 and 2 of a proc. */
export class Shell {
  readonly proc: Proc;
  /** Set when no more lines are to be read. */
  done = false;
  readonly #programs: ProgramStarter | null;
  #running: AbortController | null = null;
  /** The file that the command's output goes to. */
  #output = 1;

  /** Without `programs` it runs its own commands only. */
  constructor(proc: Proc, programs: ProgramStarter | null = null) {
    this.proc = proc;
    this.#programs = programs;
  }

  /** Aborts when the command that runs is interrupted. */
  get signal(): AbortSignal | undefined {
    return this.#running?.signal;
  }

  /** Gives up the command that runs; false when none does. */
  interrupt(): boolean {
    this.#running?.abort();
    return this.#running !== null;
  }

  /** Reads and runs lines until the end of the input. */
  async run(): Promise<string> {
    const input = new Uint8Array(IO_BYTES);
    while (!this.done) {
      await this.proc.write(1, `${this.proc.cwd === "/" ? "" : this.proc.cwd}% `);
      const count = await this.proc.read(0, input);
      if (count === 0) break;
      await this.runLine(new TextDecoder().decode(input.subarray(0, count)));
    }
    return "";
  }

  /** Runs the lines of a file, if it is there. What fails is told, as it is of lines that are typed. */
  async runFile(path: string): Promise<void> {
    const text = await this.proc.readText(path).catch(async (e) => {
      if (toErr(e).code !== "ENOENT") await this.proc.write(2, `${toErr(e).message}\n`);
      return "";
    });
    for (const line of text.split("\n")) if (!this.done) await this.runLine(line);
  }

  /** Runs one line. What fails is told on the standard error. */
  async runLine(text: string): Promise<void> {
    this.#running = new AbortController();
    try {
      const line = parseLine(text, (name) => this.proc.env.get(name));
      if (line.words.length > 0) await this.#command(line.words, line.redirect);
    } catch (e) {
      const why = this.#running.signal.aborted ? "interrupted" : e instanceof Usage ? e.message : toErr(e).message;
      await this.proc.write(2, `${why}\n`);
    } finally {
      this.#running = null;
    }
  }

  async #command([name, ...words]: string[], redirect: Redirect | null): Promise<void> {
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : await this.#programCommand(name);
    if (!command) throw new Usage(`${name}: no such command (try help)`);
    const fd = this.#output = redirect ? await this.#openOutput(redirect) : 1;
    try {
      await command.run(this, words, (data) => this.#writeAll(fd, data));
    } catch (e) {
      if (e instanceof Usage) throw new Usage(`usage: ${command.usage}`);
      throw new Usage(`${name}: ${toErr(e).message}`);
    } finally {
      if (redirect) await this.proc.close(fd);
    }
  }

  /** A program as a command; undefined when there is none of that name. */
  async #programCommand(name: string): Promise<Command | undefined> {
    const path = this.#programs && await this.#findProgram(name);
    return path ? { usage: name, help: "", run: (sh, words) => sh.program(path, words) } : undefined;
  }

  /** Where a program is: at its path, or in /bin, with or without `.ts`. */
  async #findProgram(name: string): Promise<string | undefined> {
    const path = name.includes("/") ? name : `${PROGRAMS}/${name}`;
    for (const each of [path, `${path}.ts`]) {
      if (await this.proc.stat(each).then((dir) => !(dir.mode & DMDIR), () => false)) return each;
    }
  }

  /** Runs a program until its end. An interrupt goes to it as a note. */
  async program(path: string, args: string[]): Promise<void> {
    if (!this.#programs) throw new Err("EOPNOTSUPP", "no programs can be run here");
    const redirect: [number, number][] = this.#output === 1 ? [] : [[this.#output, 1]];
    const options = { args, fds: [0, 1, 2], redirect };
    const child = await this.#programs.spawn(this.proc, path, options, this.signal);
    this.signal?.addEventListener("abort", () => child.exitStatus ?? child.note("interrupt"));
    for (;;) {
      const { pid, status } = await this.proc.wait();
      if (pid !== child.pid) continue;
      if (status !== "") throw new Err("EIO", status);
      return;
    }
  }

  /** Copies a file to `out` until its end. */
  async copy(path: string, out: Out): Promise<void> {
    const fd = await this.proc.open(path, OREAD, this.signal);
    try {
      const buffer = new Uint8Array(IO_BYTES);
      for (;;) {
        const count = await this.proc.read(fd, buffer, this.signal);
        if (count === 0) return;
        await out(buffer.subarray(0, count));
        await turn(); // files that answer at once would leave nobody else a moment, not even who interrupts
      }
    } finally {
      await this.proc.close(fd);
    }
  }

  async #openOutput({ path, append }: Redirect): Promise<number> {
    if (!append) return await this.proc.create(path, OWRITE, 0o666);
    const fd = await this.proc.open(path, OWRITE).catch(() => this.proc.create(path, OWRITE, 0o666));
    await this.proc.seek(fd, 0, 2);
    return fd;
  }

  async #writeAll(fd: number, data: string | Uint8Array): Promise<void> {
    let bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    while (bytes.length > 0) bytes = bytes.subarray(await this.proc.write(fd, bytes, this.signal));
  }
}

/** Paths, none of which looks like a flag: `./-x` is a file of such a name. */
function notFlags(words: string[]): string[] {
  if (words.some((word) => /^-./.test(word))) throw new Usage();
  return words;
}

function flagged(words: string[], least: number, most: number): [number, string[]] {
  let flags = 0;
  while (words[0]?.startsWith("-")) {
    const more = mountFlags(words[0]);
    if (more === undefined) throw new Usage();
    flags |= more;
    words = words.slice(1);
  }
  if (words.length < least || words.length > most) throw new Usage();
  return [flags, words];
}

async function echo(_: Shell, words: string[], out: Out): Promise<void> {
  const bare = words[0] === "-n";
  await out((bare ? words.slice(1) : words).join(" ") + (bare ? "" : "\n"));
}

async function ls(sh: Shell, words: string[], out: Out): Promise<void> {
  const long = words[0] === "-l";
  const paths = notFlags(long ? words.slice(1) : words);
  for (const path of paths.length > 0 ? paths : [sh.proc.cwd]) {
    const dir = await sh.proc.stat(path, sh.signal);
    const entries = dir.mode & DMDIR ? await list(sh, path) : [{ ...dir, name: path }];
    entries.sort((a, b) => a.name < b.name ? -1 : 1);
    for (const entry of entries) await out((long ? longLine(entry) : entry.name) + "\n");
  }
}

async function list(sh: Shell, path: string): Promise<Dir[]> {
  const fd = await sh.proc.open(path, OREAD, sh.signal);
  try {
    const all: Dir[] = [];
    for (;;) {
      const some = await sh.proc.dirread(fd, sh.signal);
      if (some.length === 0) return all;
      all.push(...some);
    }
  } finally {
    await sh.proc.close(fd);
  }
}

function longLine(dir: Dir): string {
  const when = new Date(dir.mtime * 1000).toISOString().slice(0, 16).replace("T", " ");
  return `${modeText(dir.mode)} ${dir.uid.padEnd(8)} ${dir.gid.padEnd(8)} ${
    String(dir.length).padStart(10)
  } ${when} ${dir.name}`;
}

/** As ls(1) of Plan 9: `d-rwxr-xr-x`. */
function modeText(mode: number): string {
  const kind = mode & DMDIR ? "d" : mode & 0x40000000 ? "a" : "-";
  const exclusive = mode & 0x20000000 ? "l" : "-";
  const bits = [6, 3, 0].map((shift) => {
    const three = (mode >> shift) & 7;
    return (three & 4 ? "r" : "-") + (three & 2 ? "w" : "-") + (three & 1 ? "x" : "-");
  });
  return kind + exclusive + bits.join("");
}

/** A line a proc: its owner, number, seconds since it was made, state, name. */
async function ps(sh: Shell, out: Out): Promise<void> {
  const pids = (await list(sh, "/proc")).filter((dir) => /^\d+$/.test(dir.name)).map((dir) => Number(dir.name));
  for (const pid of pids.sort((a, b) => a - b)) {
    // One that has ended since has no status.
    const status = await sh.proc.readText(`/proc/${pid}/status`, sh.signal).catch(() => "");
    const [name, user, state, , , realMs] = status.split(/\s+/);
    if (realMs === undefined) continue;
    const seconds = Math.floor(Number(realMs) / 1000);
    await out(
      `${user.padEnd(8)} ${String(pid).padStart(5)} ${String(seconds).padStart(7)}s ${state.padEnd(8)} ${name}\n`,
    );
  }
}

function helpText(): string {
  const width = Math.max(...Object.values(COMMANDS).map(({ usage }) => usage.length));
  return Object.values(COMMANDS).map(({ usage, help }) => `${usage.padEnd(width)}  ${help}\n`).join("");
}
