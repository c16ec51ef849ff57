/**
 * `deno task boot`: boots an image.
 *
 * Layer: cmd, programs that a person runs; this is the main thread of a node. It reads the command line, starts the
 * kernel isolate (kernel.ts), and becomes the warden: after that it can do nothing but start isolates. `boot` does the
 * same for a program.
 */

import { runWarden } from "../core/host/warden.ts";
import { EX_USAGE, readArgs, UsageError } from "./args.ts";
import type { KernelArgs } from "./kernel.ts";

const HELP = `ring9: a microkernel that serves Plan 9 file trees, on Deno

usage: deno task boot [--image NAME] [--listen ADDRESS]... [--data DIR] [--no-console]

  --image NAME      a folder of images/, or a path to one (default: default)
  --listen ADDRESS  serve the name space there too: tcp!127.0.0.1!5640, unix!/path/to/socket
  --socket PATH     the unix socket it always serves (default: $XDG_RUNTIME_DIR/ring9/9p)
  --data DIR        where its disks are kept (default: $XDG_DATA_HOME/ring9, ~/.local/share/ring9)
  --no-console      no prompt; standard input is not read
  --quiet           print where it listens, and nothing else
  --help            this text

examples:
  deno task boot
  deno task boot --listen tcp!127.0.0.1!5640
  deno task boot --image default --no-console --listen tcp!127.0.0.1!0
  deno task 9p ls -l unix!$XDG_RUNTIME_DIR/ring9/9p /

Only loopback and unix sockets are listened on. Ctrl-C stops it.
`;

/** What to boot; what is left out is as on the command line, but for the console. */
export interface BootOptions {
  /** A folder of images/, or a path to one. */
  image?: string;
  /** Dial strings, besides the image's. */
  listen?: string[];
  /** The unix socket; by default one in the runtime directory. */
  socket?: string;
  /** The folder of its disks; by default one in the user's data directory. */
  data?: string;
  /** A shell on standard input and output. */
  console?: boolean;
  /** Prints where it listens, and nothing else. */
  quiet?: boolean;
}

/**
 * Boots an image in this process. The calling thread has to be the main one, and becomes the warden: it is locked, and
 * can do nothing else from then on. The process ends when the node is stopped.
 *
 * Run Deno with the flags of the task `boot`: `--allow-all`, which each isolate then gives up its own way, `--no-prompt`, or on
 * a terminal what an isolate may not do becomes a question to the user, and the unstable API `worker-options`.
 */
export async function boot(options: BootOptions = {}): Promise<void> {
  const defaults = { image: "default", listen: [], console: false, quiet: false };
  const args: KernelArgs = { ...defaults, ...options, project: new URL("../", import.meta.url).href };
  await runWarden(new URL("./kernel.ts", import.meta.url), args);
}

/** The command line; null when there is nothing to boot. */
function bootOptions(): BootOptions | null {
  try {
    const { values, positionals } = readArgs({
      allowPositionals: true,
      options: {
        image: { type: "string", default: "default" },
        listen: { type: "string", multiple: true, default: [] },
        socket: { type: "string" },
        data: { type: "string" },
        "no-console": { type: "boolean", default: false },
        quiet: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    if (values.help) {
      console.log(HELP);
      return null;
    }
    if (positionals.length > 0) throw new UsageError(`"${positionals[0]}" is no option`);
    const { image, listen, socket, data, quiet } = values;
    return {
      image: /^\.{1,2}(\/|$)/.test(image) ? fromCaller(image) : image,
      listen: listen.map((address) => address.replace(/^unix!(?=[^/])/, `unix!${fromCaller("")}`)),
      socket: socket && fromCaller(socket),
      data: data && fromCaller(data),
      quiet,
      console: !values["no-console"],
    };
  } catch (e) {
    if (!(e instanceof UsageError)) throw e;
    console.error(`ring9: ${e.message} (try --help)`);
    Deno.exit(EX_USAGE);
  }
}

/** A path as the caller means it: `deno task` runs in the project's folder, and tells where it was called. */
function fromCaller(path: string): string {
  return path.startsWith("/") ? path : `${Deno.env.get("INIT_CWD") ?? Deno.cwd()}/${path}`;
}

if (import.meta.main) {
  const args = bootOptions();
  if (args) await boot(args);
}
