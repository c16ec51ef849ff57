/**
 * The seccomp filter: a BPF program that refuses the system calls with which a thread could reach past its isolate.
 *
 * Layer: core/host, pure: makes bytes, installs nothing (lockdown.ts and, by bwrap, process.ts do). What is refused
 * fails with EPERM; another architecture's calls, and the x32 ones of x86_64, too. Calls that a JavaScript engine
 * needs (memory, threads, files that are open, clocks) are not in the list. `clone3` answers ENOSYS, so that the C
 * library falls back on `clone`.
 *
 * See seccomp(2); numbers from asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64).
 */

/** A call and its number on [x86_64, aarch64]; -1 where there is none. */
type Table = Record<string, readonly [number, number]>;

/** Another program in the place of this one. */
const EXEC: Table = { execve: [59, 221], execveat: [322, 281], fork: [57, -1], vfork: [58, -1] };

/** New sockets, and what is done with those that others left open. */
const NETWORK: Table = {
  socket: [41, 198],
  connect: [42, 203],
  bind: [49, 200],
  listen: [50, 201],
  accept: [43, 202],
  accept4: [288, 242],
};

/** Signals, other processes' memory, the kernel's own knobs, and ways around a filter. */
const ALWAYS: Table = {
  kill: [62, 129],
  tkill: [200, 130],
  rt_sigqueueinfo: [129, 138],
  rt_tgsigqueueinfo: [297, 240],
  pidfd_send_signal: [424, 424],
  pidfd_open: [434, 434],
  pidfd_getfd: [438, 438],
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  kcmp: [312, 272],
  perf_event_open: [298, 241],
  bpf: [321, 280],
  userfaultfd: [323, 282],
  io_uring_setup: [425, 425],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  add_key: [248, 217],
  request_key: [249, 218],
  keyctl: [250, 219],
  mount: [165, 40],
  umount2: [166, 39],
  pivot_root: [155, 41],
  chroot: [161, 51],
  open_tree: [428, 428],
  move_mount: [429, 429],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fspick: [433, 433],
  mount_setattr: [442, 442],
  name_to_handle_at: [303, 264],
  open_by_handle_at: [304, 265],
  setns: [308, 268],
  unshare: [272, 97],
  chmod: [90, -1],
  fchmod: [91, 52],
  fchmodat: [268, 53],
  fchmodat2: [452, 452],
  chown: [92, -1],
  lchown: [94, -1],
  fchown: [93, 55],
  fchownat: [260, 54],
  setxattr: [188, 5],
  lsetxattr: [189, 6],
  fsetxattr: [190, 7],
  init_module: [175, 105],
  finit_module: [313, 273],
  delete_module: [176, 106],
  kexec_load: [246, 104],
  kexec_file_load: [320, 294],
  reboot: [169, 142],
  swapon: [167, 224],
  swapoff: [168, 225],
  acct: [163, 89],
  syslog: [103, 116],
  personality: [135, 92],
  sethostname: [170, 161],
  setdomainname: [171, 162],
  settimeofday: [164, 170],
  clock_settime: [227, 112],
  clock_adjtime: [305, 266],
  adjtimex: [159, 171],
  iopl: [172, -1],
  ioperm: [173, -1],
};

const CLONE3 = 435;
const EPERM = 1, ENOSYS = 38;

const ARCHES: Record<string, { audit: number; column: 0 | 1 }> = {
  x86_64: { audit: 0xc000003e, column: 0 },
  aarch64: { audit: 0xc00000b7, column: 1 },
};
/** On x86_64, numbers from here on are the x32 ABI's: the same calls again. */
const X32 = 0x40000000;

/** Classic BPF, as seccomp takes it. */
const LD_ABS = 0x20, JEQ = 0x15, JGE = 0x35, RET = 0x06;
const NR_OFFSET = 0, ARCH_OFFSET = 4;
const ALLOW = 0x7fff0000, FAIL_WITH = 0x00050000;

/** What the filter leaves open. */
export interface FilterOptions {
  /** `x86_64` or `aarch64`. */
  arch: string;
  /** Whether programs may be started. */
  exec: boolean;
  /** Whether sockets may be made. */
  network: boolean;
}

/** The program: 8 bytes an instruction (struct sock_filter). Throws when the architecture is not known. */
export function filterProgram({ arch, exec, network }: FilterOptions): Uint8Array<ArrayBuffer> {
  const target = ARCHES[arch];
  if (!target) throw new Error(`no table of system calls for ${arch}`);
  const calls = { ...ALWAYS, ...(exec ? {} : EXEC), ...(network ? {} : NETWORK) };
  const refused = Object.values(calls).map((numbers) => numbers[target.column]).filter((number) => number >= 0);
  const code: Instruction[] = [[LD_ABS, 0, 0, ARCH_OFFSET], [JEQ, 1, 0, target.audit], [RET, 0, 0, FAIL_WITH | EPERM]];
  code.push([LD_ABS, 0, 0, NR_OFFSET], [JGE, 0, 1, X32], [RET, 0, 0, FAIL_WITH | EPERM]);
  code.push([JEQ, 0, 1, CLONE3], [RET, 0, 0, FAIL_WITH | ENOSYS]);
  for (const number of refused) code.push([JEQ, 0, 1, number], [RET, 0, 0, FAIL_WITH | EPERM]);
  code.push([RET, 0, 0, ALLOW]);
  return assemble(code);
}

/** Code, jump if true, jump if false, constant. */
type Instruction = [number, number, number, number];

function assemble(code: Instruction[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(code.length * 8));
  code.forEach(([op, jt, jf, k], i) => {
    view.setUint16(i * 8, op, true);
    view.setUint8(i * 8 + 2, jt);
    view.setUint8(i * 8 + 3, jf);
    view.setUint32(i * 8 + 4, k >>> 0, true);
  });
  return new Uint8Array(view.buffer);
}
