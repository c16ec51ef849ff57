/**
 * GRO of the host: Linux merges the frames that a TAP's owner sends one by one, before its TCP sees them, as it does behind
 * every NIC.
 *
 * Layer: devices; tap.ts sets it. Each write to a TAP is a poll of its own for Linux (NAPI), at whose end nothing is kept
 * for the next one unless the interface has a `gro_flush_timeout`: for so long a frame may wait for others. That is a file
 * of sysfs, which shows the interfaces of the name space that it was mounted in; so it is mounted anew, where nobody sees
 * it, until the file is written.
 *
 * A timer that is the next one of its CPU is told to the hardware each time that it is set, which is dear on a virtual
 * machine, and each frame sets it: so it comes after the tick.
 *
 * See Documentation/networking/napi.rst of Linux; fsopen(2), fsmount(2).
 */

import { libcCalls } from "../core/host/libc.ts";
import { cstr, must, netCalls, O_CLOEXEC } from "./net_calls.ts";

/** `syscall` and not the C library's functions: those are younger than some of the hosts that this runs on. */
const calls = libcCalls({
  fsopen: { name: "syscall", parameters: ["i64", "buffer", "u32"], result: "i32" },
  fsconfig: { name: "syscall", parameters: ["i64", "i32", "u32", "buffer", "buffer", "i32"], result: "i32" },
  fsmount: { name: "syscall", parameters: ["i64", "i32", "u32", "u32"], result: "i32" },
  openat: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  clock_getres: { parameters: ["i32", "buffer"], result: "i32" },
}, "set up GRO of the host");

/** The same on every architecture. */
const SYS_FSOPEN = 430n, SYS_FSCONFIG = 431n, SYS_FSMOUNT = 432n;
const FSOPEN_CLOEXEC = 1, FSMOUNT_CLOEXEC = 1, FSCONFIG_CMD_CREATE = 6;
const O_WRONLY = 1;
const CLOCK_MONOTONIC_COARSE = 6;
/** What is waited for others at the most, as a multiple of a tick. */
const TICKS = 1.25;

/** Lets Linux merge what comes from `name`, an interface. Needs CAP_SYS_ADMIN and Linux 5.2. */
export function setHostGro(name: string): void {
  const { openat } = calls(), { close, writeBuffer } = netCalls();
  const granted = (result: number) => must(result, `gro_flush_timeout of ${name}`, "CAP_SYS_ADMIN");
  const sysfs = mountSysfs(granted);
  try {
    const fd = granted(openat(sysfs, cstr(`class/net/${name}/gro_flush_timeout`), O_WRONLY | O_CLOEXEC));
    const text = new TextEncoder().encode(`${Math.round(tickNs() * TICKS)}\n`);
    try {
      granted(Number(writeBuffer(fd, text, BigInt(text.length))));
    } finally {
      close(fd);
    }
  } finally {
    close(sysfs);
  }
}

/** A sysfs of this thread's network name space, in no name space of mounts; it goes when the descriptor is closed. */
function mountSysfs(granted: (result: number) => number): number {
  const { fsopen, fsconfig, fsmount } = calls(), { close } = netCalls();
  const fs = granted(fsopen(SYS_FSOPEN, cstr("sysfs"), FSOPEN_CLOEXEC));
  try {
    granted(fsconfig(SYS_FSCONFIG, fs, FSCONFIG_CMD_CREATE, null, null, 0));
    return granted(fsmount(SYS_FSMOUNT, fs, FSMOUNT_CLOEXEC, 0));
  } finally {
    close(fs);
  }
}

/** How long a tick of the host's clock is, nanoseconds. */
function tickNs(): number {
  const resolution = new BigInt64Array(2);
  must(calls().clock_getres(CLOCK_MONOTONIC_COARSE, resolution), "clock_getres");
  return Number(resolution[0]) * 1e9 + Number(resolution[1]);
}
