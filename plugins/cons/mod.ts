/**
 * cons: the console: /dev/cons, its control file, and the kernel's messages.
 *
 * Layer: a plugin, on the helper layer; `console.ts` is the console, devices/tty.ts the host's terminal. What it uses
 * of the kernel is in `ConsKernel`, all of it optional. The manual page is cons.md.
 *
 * See cons(3) of Plan 9.
 */

import { definePlugin, Err, excerpt, type FileNode, type Handle, raw, tree } from "../../core/plugin/author.ts";
import { hostTerminal } from "../../devices/tty.ts";
import { Console, type ConsPort } from "./console.ts";

/** A log that counts its bytes: the kernel's (core/kmesg.ts). */
export interface MessageLog {
  readonly start: number;
  readonly end: number;
  read(position: number, count: number): { bytes: Uint8Array; next: number };
  wait(position: number, signal: AbortSignal): void | Promise<void>;
}

/** What the console uses of a kernel. */
export interface ConsKernel {
  /** The kernel's messages. */
  log?: MessageLog;
  /** The terminal, when it is not the host's own. */
  terminal?: ConsPort | null;
  /** ^C was typed on a terminal whose lines are edited here. */
  interrupt?(): void;
}

const CONTROLS: Record<string, (console: Console) => void> = {
  rawon: (console) => console.setRaw(true),
  rawoff: (console) => console.setRaw(false),
  holdon: (console) => console.setHold(true),
  holdoff: (console) => console.setHold(false),
};

/** The files of a console. */
function consFiles(console: Console, log: MessageLog | undefined) {
  return {
    cons: raw({
      mode: 0o660,
      read: (dst, _offset, req) => console.read(dst.length, req),
      write: (data) => console.write(data),
    }),
    consctl: raw({ mode: 0o220, open: () => control(console) }),
    ...(log && { kmesg: kmesg(log), kprint: kprint(log) }),
  };
}

export default definePlugin({
  start(ctx) {
    const kernel = (ctx.kernel ?? {}) as ConsKernel;
    const host = ctx.options.terminal === "none" ? null : hostTerminal();
    const port = kernel.terminal === undefined ? host : kernel.terminal;
    const onNote = () => kernel.interrupt?.();
    const console = new Console({ port, log: (line) => ctx.log(line), onNote });
    ctx.defer(() => console.close());
    return tree(consFiles(console, kernel.log), ctx);
  },
});

/** One open consctl. */
function control(console: Console): Handle {
  console.openCtl();
  return {
    write(data) {
      for (const word of new TextDecoder().decode(data).trim().split(/\s+/)) {
        const command = CONTROLS[word];
        if (!command) {
          throw new Err(
            "EINVAL",
            `unknown control request "${excerpt(word)}" (known: ${Object.keys(CONTROLS).join(" ")})`,
          );
        }
        command(console);
      }
      return data.length;
    },
    close: () => console.closeCtl(),
  };
}

/** The messages that are kept, from the oldest when it was opened, to the end. */
function kmesg(log: MessageLog): FileNode {
  const open = (): Handle => {
    let base = log.start;
    return {
      read(dst, offset) {
        const { bytes, next } = log.read(base + offset, dst.length);
        base = next - bytes.length - offset; // messages went that were not read in time
        return bytes;
      },
    };
  };
  return raw({ mode: 0o440, open });
}

/** The messages from the time it was opened on; reads wait for more. */
function kprint(log: MessageLog): FileNode {
  const open = (): Handle => {
    let position = log.end;
    return {
      async read(dst, _offset, req) {
        const { length } = dst;
        await log.wait(position, req.signal);
        const { bytes, next } = log.read(position, length);
        position = next;
        return bytes;
      },
    };
  };
  return raw({ mode: 0o440, open });
}
