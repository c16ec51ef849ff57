/**
 * 9p: looks at and changes the files of any 9P server, from the command line.
 *
 * Layer: cmd, a program; over core/p9 and core/host. The commands are in 9p_commands.ts. Each command takes a dial
 * string and paths; what fails is said on standard error, the rest is still done, and the exit status is then 1; of a wrong
 * command line it is 2, and nothing is done.
 */

import config from "../deno.json" with { type: "json" };
import { Client, type Dialect, dialectTraits, Err, MIN_MSIZE, NONUNAME, parseDial, toErr } from "../core/p9/mod.ts";
import { dial } from "../core/host/transports.ts";
import { EX_USAGE, readArgs, readNumber, UsageError } from "./args.ts";
import { COMMANDS, type Job } from "./9p_commands.ts";
import { complain, print } from "./9p_print.ts";

const HELP = `9p: the files of a 9P server

usage: 9p COMMAND [OPTIONS] DIAL [PATH...]

  ls     list directories           -l with all that is known, -R with all below
  cat    print files
  write  standard input into a file --create it if need be, --append at its end
  stat   all that is known of files
  rm     remove files               -r directories with all in them
  mkdir  make directories           -p with those on the way
  top    cores, isolates and rings of a node, live (once: one look; SECONDS apart)

DIAL is tcp!host!port, unix!/path or ws!ws://host/path. PATH is / when not given.

options
  --json          one JSON value on standard output; an error as JSON on standard error
  --aname TREE    which tree of the server
  --uname NAME    who asks (you), and --uid N the number of that user (yours)
  --dialect NAME  9P2000.L, 9P2000.u or 9P2000; the best that the server speaks
  --msize BYTES   the largest message to offer
  --timeout SECS  give up after this long
  --help, --version

examples
  9p ls -l unix!/run/user/0/ring9/9p /dev
  9p cat tcp!127.0.0.1!5640 /proc/1/status
  echo reload ram | 9p write unix!/run/user/0/ring9/9p /sys/plugins/ctl
  tar c docs | 9p write --create tcp!fileserver!564 /backup/docs.tar
  9p ls --json --uname glenda --aname main/archive tcp!fileserver /
`;

const OPTIONS = {
  long: { type: "boolean", short: "l" },
  recursive: { type: "boolean", short: "R" },
  remove: { type: "boolean", short: "r" },
  parents: { type: "boolean", short: "p" },
  create: { type: "boolean" },
  append: { type: "boolean" },
  json: { type: "boolean" },
  aname: { type: "string" },
  uname: { type: "string" },
  uid: { type: "string" },
  dialect: { type: "string" },
  msize: { type: "string" },
  timeout: { type: "string" },
  help: { type: "boolean", short: "h" },
  version: { type: "boolean" },
} as const;

/** The longest --timeout, seconds. */
const MAX_TIMEOUT_S = 1e6;

type Values = ReturnType<typeof parse>["values"];

function parse(args: string[]) {
  return readArgs({ args, options: OPTIONS, allowPositionals: true });
}

/** Runs the program: its exit status. */
async function main(args: string[]): Promise<number> {
  try {
    const { values, positionals } = parse(args);
    if (values.help) return print(HELP);
    if (values.version) return print(`9p ${config.version}\n`);
    return await run(values, positionals);
  } catch (e) {
    const json = args.includes("--json");
    if (!(e instanceof UsageError)) return complain(toErr(e), json);
    complain(`${e.message} (try: 9p --help)`, json);
    return EX_USAGE;
  }
}

async function run(values: Values, [name, address, ...paths]: string[]): Promise<number> {
  const command = COMMANDS.get(name ?? "");
  if (!command) throw new UsageError(name ? `no command '${name}'` : "a command is missing");
  if (address === undefined) throw new UsageError(`${name}: the dial string is missing`);
  checkDial(address);
  if (paths.length === 0 && command.needsPath) throw new UsageError(`${name}: which file?`);
  const signal = values.timeout === undefined
    ? undefined
    : AbortSignal.timeout(1000 * readNumber("--timeout", values.timeout, { least: 0.001, most: MAX_TIMEOUT_S }));
  const client = await connect(address, values, signal);
  try {
    await client.root().catch((e) => {
      throw new Err(toErr(e).code, `cannot attach to ${address}: ${toErr(e).message}${ATTACH_HINT}`, { cause: e });
    });
    const job: Job = { client, address, paths: paths.length > 0 ? paths : ["/"], flags: values, signal };
    return await command.run(job);
  } finally {
    await client.close(AbortSignal.any([AbortSignal.timeout(CLOSE_MS), ...signal ? [signal] : []]));
  }
}

const ATTACH_HINT = " (try another --aname or --uname)";
/** How long the server may take to answer the last clunks. */
const CLOSE_MS = 1000;

async function connect(address: string, values: Values, signal: AbortSignal | undefined): Promise<Client> {
  const { dialect } = values, number = { integer: true, most: NONUNAME };
  if (dialect !== undefined && !dialectTraits(dialect)) throw new UsageError(`--dialect: there is no '${dialect}'`);
  const uid = values.uid === undefined ? Deno.uid() ?? undefined : readNumber("--uid", values.uid, number);
  const msize = values.msize === undefined
    ? undefined
    : readNumber("--msize", values.msize, { ...number, least: MIN_MSIZE });
  const transport = await dial(address, { signal });
  return await Client.connect(transport, {
    uname: values.uname ?? Deno.env.get("USER") ?? Deno.env.get("LOGNAME") ?? (Deno.uid() === 0 ? "root" : "none"),
    uid,
    aname: values.aname,
    msize,
    dialects: dialect === undefined ? undefined : [dialect as Dialect],
    clock: { now: Date.now, monotonic: () => performance.now(), after: () => () => {} },
    signal,
  });
}

function checkDial(address: string): void {
  try {
    parseDial(address);
  } catch (e) {
    throw new UsageError(toErr(e).message);
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
