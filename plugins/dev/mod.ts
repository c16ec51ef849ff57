/**
 * dev: the small files of /dev that need no device: null, zero, full, random, time, names.
 *
 * Layer: a plugin, on the helper layer; time and random bytes come from its context. The manual page is dev.md.
 *
 * See cons(3) of Plan 9, and null(4), full(4) and random(4) of Linux.
 */

import { type Ctx, definePlugin, Err, file, type FileNode, type Handle, raw, tree } from "../../core/plugin/author.ts";

/** A number's width in Plan 9's text files, with the blank after it: of 32 bits, and of 64. */
const NUMBER = 12, BIG_NUMBER = 22;
const NS_PER_SEC = 1_000_000_000n;
/** Bytes of random at a time: the most that crypto gives. */
const RANDOM_BYTES = 65_536;
const MAX_SYSNAME = 64;

/** The tree's description. */
function devFiles(ctx: Ctx) {
  const state = { sysname: ctx.sysname };
  const random = () => raw({ mode: 0o666, read: (dst) => fillRandom(ctx, dst), write: (data) => data.length });
  return {
    null: raw({ mode: 0o666, read: () => 0, write: (data) => data.length }),
    zero: raw({ mode: 0o666, read: zeros, write: (data) => data.length }),
    full: raw({ mode: 0o666, read: zeros, write: refuseFull }),
    random: random(),
    urandom: random(),
    time: snapshots(() => new TextEncoder().encode(timeText(ctx))),
    bintime: snapshots(() => bintime(ctx)),
    sysname: file({
      mode: 0o644,
      read: () => state.sysname,
      message: (text) => {
        state.sysname = checkSysname(text.trim());
      },
    }),
    user: file({ read: (req) => req.user.name }),
    hostowner: file({ read: () => ctx.hostowner }),
    osversion: file({ read: () => "2000" }),
  };
}

export default definePlugin({ start: (ctx) => tree(devFiles(ctx), ctx) });

/** A file whose content is made anew by each read at its start: programs keep /dev/time open and read it again. */
function snapshots(make: () => Uint8Array): FileNode {
  const open = (): Handle => {
    let bytes = new Uint8Array(0);
    return {
      read(dst, offset) {
        if (offset === 0) bytes = make() as typeof bytes;
        return bytes.subarray(offset, offset + dst.length);
      },
    };
  };
  return raw({ mode: 0o444, open });
}

/** Seconds and nanoseconds since 1970, ticks of the monotonic clock and how many of them make a second. */
function timeText(ctx: Ctx): string {
  const ns = nanoseconds(ctx.clock.now());
  return column(ns / NS_PER_SEC, NUMBER) + column(ns, BIG_NUMBER) +
    column(nanoseconds(ctx.clock.monotonic()), BIG_NUMBER) + column(NS_PER_SEC, BIG_NUMBER);
}

/** The same as three big-endian numbers of 64 bits, without the seconds. */
function bintime(ctx: Ctx): Uint8Array {
  const view = new DataView(new ArrayBuffer(24));
  view.setBigInt64(0, nanoseconds(ctx.clock.now()));
  view.setBigInt64(8, nanoseconds(ctx.clock.monotonic()));
  view.setBigInt64(16, NS_PER_SEC);
  return new Uint8Array(view.buffer);
}

function nanoseconds(ms: number): bigint {
  const whole = Math.floor(ms);
  return BigInt(whole) * 1_000_000n + BigInt(Math.floor((ms - whole) * 1e6));
}

function column(value: bigint, width: number): string {
  return String(value).padStart(width - 1) + " ";
}

function zeros(dst: Uint8Array): number {
  dst.fill(0);
  return dst.length;
}

function refuseFull(data: Uint8Array): number {
  if (data.length > 0) throw new Err("ENOSPC");
  return 0;
}

function fillRandom(ctx: Ctx, dst: Uint8Array): number {
  for (let at = 0; at < dst.length; at += RANDOM_BYTES) ctx.random(dst.subarray(at, at + RANDOM_BYTES));
  return dst.length;
}

function checkSysname(name: string): string {
  if (!/^[^\s\p{C}]+$/u.test(name) || name.length > MAX_SYSNAME) {
    throw new Err("EINVAL", `a system name has 1 to ${MAX_SYSNAME} characters and no blanks`);
  }
  return name;
}
