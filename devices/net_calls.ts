/**
 * The system calls that network devices are made of, by FFI, opened on first use.
 *
 * Layer: devices; tap.ts, packet.ts and pump.ts call these. Numbers are those of Linux on x86-64 and arm64, which are the
 * same for all that is here. A 64-bit argument is a bigint made beforehand: a number costs 200 ns more.
 *
 * What holds always: a call that failed is an Err that says what was tried and what to try; hot calls (read, write,
 * send, yield) answer the number of the C library, and `errno()` says why it is negative.
 *
 * See tun.rst of Linux's documentation, netdevice(7), packet(7), poll(2), eventfd(2).
 */

import { Err, errFromErrno, excerpt } from "../core/err.ts";
import { libcCalls } from "../core/host/libc.ts";
import { wasmBuffer } from "../core/wasm_memory.ts";

const calls = libcCalls({
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  ioctlValue: { name: "ioctl", parameters: ["i32", "u64", "u64"], result: "i32" },
  read: { parameters: ["i32", "usize", "u32"], result: "i32" },
  write: { parameters: ["i32", "usize", "u32"], result: "i32" },
  writeBuffer: { name: "write", parameters: ["i32", "buffer", "usize"], result: "isize" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32", nonblocking: true },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  sched_yield: { parameters: [], result: "i32" },
  mmap: { parameters: ["usize", "usize", "i32", "i32", "i32", "i64"], result: "usize" },
  munmap: { parameters: ["usize", "usize"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  send: { parameters: ["i32", "usize", "u32", "i32"], result: "i32" },
  __errno_location: { parameters: [], result: "pointer" },
}, "use network devices of the host");

/** The calls, as functions. */
export type NetCalls = ReturnType<typeof calls>;

export const EINTR = 4, EAGAIN = 11, EBADFD = 77, ENOBUFS = 105;
export const O_RDWR = 2, O_NONBLOCK = 0o4000, O_CLOEXEC = 0o2000000;
const PROT_READ_WRITE = 3, MAP_SHARED = 1, MAP_POPULATE = 0x8000;
const MAP_FAILED = 0xffffffffffffffffn;
const AF_INET = 2, SOCK_DGRAM = 2;

/** The calls. EOPNOTSUPP, with what to try, where FFI is not permitted or this is not Linux. */
export function netCalls(): NetCalls {
  if (Deno.build.os !== "linux") throw new Err("EOPNOTSUPP", "network devices of the host need Linux");
  return calls();
}

/** Why the last call failed. Its place is the thread's, and an isolate stays on its thread. */
export function errno(): number {
  errnoCell ??= new Int32Array(Deno.UnsafePointerView.getArrayBuffer(netCalls().__errno_location()!, 4));
  return errnoCell[0];
}

let errnoCell: Int32Array | undefined;

/** What a call answered, unless it failed: then an Err, `what` in its words; `caps` is what else than root may do it. */
export function must(result: number, what: string, caps = "CAP_NET_ADMIN and CAP_NET_RAW"): number {
  if (result >= 0) return result;
  const number = errno();
  const { code } = errFromErrno(number);
  const hint = number === 1 || number === 13 ? ` (needs root, or ${caps})` : "";
  throw new Err(code, `${what}: ${errFromErrno(number).message}${hint}`);
}

/** Text with the zero that ends it in C. */
export function cstr(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text + "\0");
}

/** Memory that stays where it is, at an address that system calls can be given. */
export interface Memory {
  readonly addr: bigint;
  readonly buffer: ArrayBuffer;
}

/** Memory of a descriptor. */
export interface Mapping extends Memory {
  unmap(): void;
}

/** Fresh memory of at least `bytes`, whose checksums vectors may add up. */
export function allocate(bytes: number): Memory {
  const buffer = wasmBuffer(bytes);
  return { addr: Deno.UnsafePointer.value(Deno.UnsafePointer.of(new Uint8Array(buffer))), buffer };
}

/** Maps `bytes` of descriptor `fd`. They must not be touched after `unmap`. */
export function map(bytes: number, fd: number): Mapping {
  const calls = netCalls(), length = BigInt(bytes), flags = MAP_SHARED | MAP_POPULATE;
  const addr = calls.mmap(0n, length, PROT_READ_WRITE, flags, fd, 0n) as bigint;
  if (addr === MAP_FAILED) must(-1, `mmap of ${bytes} bytes`);
  const buffer = Deno.UnsafePointerView.getArrayBuffer(Deno.UnsafePointer.create(addr)!, bytes);
  return { addr, buffer, unmap: () => void calls.munmap(addr, length) };
}

/** struct ifreq: a name of at most 15 bytes, and 24 bytes of whatever it is. */
export class Ifreq {
  readonly bytes = new Uint8Array(40);
  readonly view = new DataView(this.bytes.buffer);

  constructor(name: string) {
    const word = new TextEncoder().encode(name);
    if (!/^[^\s/:]{1,15}$/.test(name) || word.length > 15) {
      throw new Err("EINVAL", `"${excerpt(name)}" is no name of an interface (1 to 15 bytes, no blank, / or :)`);
    }
    this.bytes.set(word);
  }
}

const SIOCGIFFLAGS = 0x8913n, SIOCSIFFLAGS = 0x8914n, SIOCSIFADDR = 0x8916n, SIOCSIFNETMASK = 0x891cn;
const SIOCGIFMTU = 0x8921n,
  SIOCSIFMTU = 0x8922n,
  SIOCGIFHWADDR = 0x8927n,
  SIOCGIFINDEX = 0x8933n,
  SIOCSIFTXQLEN = 0x8943n;
const IFF_UP = 1;
const AT = 16;

/** What can be asked of an interface of the host, and told to it. */
export interface HostInterface {
  readonly index: number;
  readonly mtu: number;
  readonly mac: Uint8Array;
}

/** What an interface of the host is. ENODEV when there is none of that name. */
export function hostInterface(name: string): HostInterface {
  const index = ask(name, SIOCGIFINDEX).view.getInt32(AT, true);
  const mtu = ask(name, SIOCGIFMTU).view.getInt32(AT, true);
  return { index, mtu, mac: ask(name, SIOCGIFHWADDR).bytes.slice(AT + 2, AT + 8) };
}

/** What the host's side of an interface is set to; what is not there is left alone. */
export interface HostSettings {
  up?: boolean;
  mtu?: number;
  /** Frames that wait for whoever reads, at the most. */
  txqueuelen?: number;
  /** An IPv4 address with its prefix, `10.0.0.1/24`. */
  address?: string;
}

/** Sets the host's side of an interface. Needs CAP_NET_ADMIN. */
export function setHostInterface(name: string, settings: HostSettings): void {
  const { up, mtu, txqueuelen, address } = settings;
  const number = (value: number) => (view: DataView) => view.setInt32(AT, value, true);
  if (mtu !== undefined) ask(name, SIOCSIFMTU, number(mtu));
  if (txqueuelen !== undefined) ask(name, SIOCSIFTXQLEN, number(txqueuelen));
  if (address !== undefined) setAddress(name, address);
  if (up !== undefined) {
    const flags = ask(name, SIOCGIFFLAGS).view.getInt16(AT, true);
    ask(name, SIOCSIFFLAGS, (view) => view.setInt16(AT, up ? flags | IFF_UP : flags & ~IFF_UP, true));
  }
}

function setAddress(name: string, address: string): void {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(address)?.slice(1).map(Number);
  if (!parts || parts.slice(0, 4).some((part) => part > 255) || parts[4] > 32) {
    throw new Err("EINVAL", `"${excerpt(address)}" is no address for ${name} (wanted: 10.0.0.1/24)`);
  }
  const [a, b, c, d, prefix] = parts, mask = prefix === 0 ? 0 : -1 << 32 - prefix;
  const family = (view: DataView) => view.setUint16(AT, AF_INET, true);
  ask(name, SIOCSIFADDR, (view) => (family(view), view.setUint32(AT + 4, (a << 24 | b << 16 | c << 8 | d) >>> 0)));
  ask(name, SIOCSIFNETMASK, (view) => (family(view), view.setUint32(AT + 4, mask >>> 0)));
}

/** One ioctl about an interface, on a socket that is there for that alone. */
function ask(name: string, request: bigint, fill: (view: DataView) => void = () => {}): Ifreq {
  const calls = netCalls(), ifreq = new Ifreq(name);
  fill(ifreq.view);
  const fd = must(calls.socket(AF_INET, SOCK_DGRAM | O_CLOEXEC, 0), "socket");
  try {
    must(calls.ioctl(fd, request, ifreq.bytes), `interface ${name}`);
  } finally {
    calls.close(fd);
  }
  return ifreq;
}
