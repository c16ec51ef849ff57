/**
 * What a TAP carries, read and written by devices/tap.ts, beside a C program that does the same: frames and bits a
 * second, the round trip of a small packet with the device awake and asleep, and the CPU that an idle one takes. On a
 * machine that has other work to do, the CPU a frame is what can be compared.
 *
 * Run as root: deno task bench net_dev [--json]. Needs gcc and ip. It makes a network namespace of its own. Traffic
 * comes from CPU A, the device is served on CPU B; figures are medians of ROUNDS runs, C and ring9 by turns.
 */

import { allowedCpus, pinSelf, threadCpuMs } from "../core/host/threads.ts";
import { CHECKSUM, type FrameInfo, type FrameSink, GSO, PLAIN } from "../core/link.ts";
import { openTap, type Tap } from "../devices/tap.ts";
import { inNetns, NET_NEEDS, run } from "../tests/netns.ts";
import { program } from "../tests/skip.ts";
import { need, onOff, readFlags } from "./flags.ts";

const ROUNDS = 3, SECONDS = 0.6;
const TAP = "bench0", LINUX = "10.99.0.1/24", OURS = "10.99.0.2", OUR_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);
const [A, B] = [allowedCpus()[0], allowedCpus().at(-1)!];
const LOAD = Deno.loadavg()[0];

interface Row {
  what: string;
  unit: string;
  c: number;
  ring9: number;
  /** More is better. */
  isRate: boolean;
}

/** Frames of these sizes: payload of one call, and segment size when Linux cuts it or has it uncut. */
const SIZES = [
  { name: "1,514 B", udp: 1472, tcp: 1460, gso: 0 },
  { name: "super-frames", udp: 60_000, tcp: 65_000, gso: 1448 },
];
const ROUND_TRIPS = [
  { name: "back to back, two CPUs", client: A, count: 10_000, gapUs: 0 },
  { name: "back to back, one CPU", client: B, count: 10_000, gapUs: 0 },
  { name: "one each 2 ms, two CPUs", client: A, count: 300, gapUs: 2000 },
  { name: "one each 2 ms, one CPU", client: B, count: 300, gapUs: 2000 },
];

const { json } = readFlags("net_dev", { json: onOff() });
need("net_dev", ...NET_NEEDS, program("gcc"), program("ip"));
const peer = await buildPeer();
const rows: Row[] = [];
await inNetns(async () => {
  await run("ip", "tuntap", "add", "dev", TAP, "mode", "tap", "vnet_hdr");
  await run("ip", "link", "set", TAP, "up", "txqueuelen", "1000");
  await run("ip", "addr", "add", LINUX, "dev", TAP);
  await run("ip", "neigh", "replace", OURS, "lladdr", "02:00:00:00:00:02", "dev", TAP, "nud", "permanent");
  for (const size of SIZES) await reading(size);
  for (const size of SIZES) await writing(size);
  for (const kind of ROUND_TRIPS) await roundTrips(kind);
  rows.push({ what: "idle", unit: "% CPU", c: NaN, ring9: await idle(), isRate: false });
});
report();
Deno.exit(0);

async function reading({ name, udp, gso }: typeof SIZES[0]): Promise<void> {
  const flood = () => c("flood", A, OURS, SECONDS, udp, gso);
  const byC = async () => {
    const read = c("read", B, TAP, SECONDS), [figures] = await Promise.all([read, flood()]);
    return figures;
  };
  const byUs = async () => {
    let frames = 0, bytes = 0;
    const sink: FrameSink = { begin() {}, frame: (_b, at, end) => (frames++, bytes += end - at), end() {} };
    return await withTap(async (tap) => {
      tap.attach(sink);
      const start = threadCpuMs();
      await flood();
      return [frames / SECONDS, bytes / SECONDS, (threadCpuMs() - start) * 1e6 / frames];
    });
  };
  await compare(`read, ${name}`, byC, byUs);
}

async function writing({ name, tcp, gso }: typeof SIZES[0]): Promise<void> {
  const byUs = () =>
    withTap((tap) => {
      const [bytes, info] = frameToNobody(tcp, gso), frames = 64;
      tap.begin(bytes.length);
      tap.frame.set(bytes, tap.frameAt);
      let sent = 0;
      const start = performance.now(), startCpu = threadCpuMs(), endMs = start + SECONDS * 1000;
      for (; performance.now() < endMs; sent += frames) {
        for (let i = 0; i < frames; i++) {
          tap.begin(bytes.length);
          tap.end(bytes.length, info);
        }
      }
      const seconds = (performance.now() - start) / 1000;
      const cpuNs = (threadCpuMs() - startCpu) * 1e6 / sent;
      return Promise.resolve([sent / seconds, sent * bytes.length / seconds, cpuNs]);
    });
  await compare(`write, ${name}`, () => c("write", B, TAP, SECONDS, tcp, gso), byUs);
}

async function roundTrips({ name, client, count, gapUs }: typeof ROUND_TRIPS[0]): Promise<void> {
  const measure = () => c("rtt", client, OURS, count, gapUs);
  const byC = async () => {
    const echo = new Deno.Command(peer, { args: ["echo", String(B), TAP, "600"], stdout: "null" }).spawn();
    await sleep(50);
    const figures = await measure();
    echo.kill();
    await echo.status;
    return figures;
  };
  const byUs = () => withTap(async (tap) => (tap.attach(echoSink(tap)), await measure()));
  const [[c50], [our50]] = await medians(byC, byUs);
  rows.push({ what: `round trip of 64 B, ${name}`, unit: "us", c: c50, ring9: our50, isRate: false });
}

/** CPU of the process, all its threads, with a device that nothing comes to. */
async function idle(): Promise<number> {
  return await withTap(async (tap) => {
    tap.attach(echoSink(tap));
    await sleep(500);
    const cpu = () => processCpuMs(), start = cpu();
    await sleep(2000);
    return (cpu() - start) / 20;
  });
}

/** Sends UDP back to who sent it, as `netdev echo` does. */
function echoSink(tap: Tap): FrameSink {
  return {
    begin() {},
    frame(bytes, at, end, info) {
      if (end - at < 42 || bytes[at + 12] !== 8 || bytes[at + 13] !== 0 || bytes[at + 23] !== 17) return;
      tap.begin(end - at);
      const { frame, frameAt } = tap;
      frame.set(bytes.subarray(at, end), frameAt);
      for (const [from, to, size] of [[0, 6, 6], [6, 0, 6], [26, 30, 4], [30, 26, 4], [34, 36, 2], [36, 34, 2]]) {
        for (let i = 0; i < size; i++) frame[frameAt + to + i] = bytes[at + from + i];
      }
      tap.end(end - at, info);
    },
    end() {},
  };
}

/** TCP for a station that is not there: Linux takes it, and drops it at IP. */
function frameToNobody(payload: number, gso: number): [Uint8Array, FrameInfo] {
  const frame = new Uint8Array(54 + payload), view = new DataView(frame.buffer);
  frame.set([2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 0, 0, 1, 0, 0, 64, 6]);
  view.setUint16(16, 40 + payload);
  frame.set([10, 99, 0, 2, 10, 99, 0, 1], 26);
  frame.set([0x50, 0x10], 46);
  if (gso === 0) return [frame, PLAIN];
  const partial = { checksum: CHECKSUM.partial, checksumStart: 34, checksumOffset: 16 };
  return [frame, { ...partial, gso: GSO.tcp4, gsoBytes: gso, headerBytes: 54 }];
}

async function withTap<T>(fn: (tap: Tap) => Promise<T>): Promise<T> {
  const tap = openTap({ name: TAP, mac: OUR_MAC });
  const all = allowedCpus();
  pinSelf(B);
  try {
    return await fn(tap);
  } finally {
    pinSelf(...all);
    await tap.close();
  }
}

async function compare(what: string, byC: () => Promise<number[]>, byUs: () => Promise<number[]>): Promise<void> {
  const [[cFrames, cBytes, cNs], [frames, bytes, ns]] = await medians(byC, byUs);
  rows.push({ what, unit: "k frames/s", c: cFrames / 1e3, ring9: frames / 1e3, isRate: true });
  rows.push({ what, unit: "Gbit/s", c: cBytes * 8e-9, ring9: bytes * 8e-9, isRate: true });
  rows.push({ what, unit: "ns CPU a frame", c: cNs, ring9: ns, isRate: false });
}

async function medians(...kinds: (() => Promise<number[]>)[]): Promise<number[][]> {
  const runs = kinds.map((): number[][] => []);
  for (let i = 0; i < ROUNDS; i++) for (const [k, kind] of kinds.entries()) runs[k].push(await kind());
  return runs.map((all) => all[0].map((_, i) => all.map((one) => one[i]).toSorted((x, y) => x - y)[ROUNDS >> 1]));
}

/** The numbers that the C program prints. */
async function c(mode: string, cpu: number, ...args: (string | number)[]): Promise<number[]> {
  return (await run(peer, mode, String(cpu), ...args.map(String))).trim().split(" ").map(Number);
}

async function buildPeer(): Promise<string> {
  const out = await Deno.makeTempFile({ prefix: "netdev" });
  await run("gcc", "-O2", "-Wall", "-o", out, new URL("./c/netdev.c", import.meta.url).pathname);
  return out;
}

function processCpuMs(): number {
  const stat = Deno.readTextFileSync("/proc/self/stat"), fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function report(): void {
  if (json) {
    return console.log(JSON.stringify({ cpus: [A, B], rounds: ROUNDS, load: LOAD, rows }));
  }
  console.log(
    `traffic on CPU ${A}, device on CPU ${B}, medians of ${ROUNDS} runs, load at the start ${LOAD.toFixed(1)}\n`,
  );
  console.log(`${"".padEnd(46)}${"C".padStart(10)}${"ring9".padStart(10)}`);
  for (const { what, unit, c, ring9, isRate } of rows) {
    const figure = (n: number) => (Number.isNaN(n) ? "-" : n.toFixed(n < 100 ? 1 : 0)).padStart(10);
    const ratio = Number.isNaN(c) ? "" : ` ${(isRate ? ring9 / c : c / ring9).toFixed(2)} of C`;
    console.log(`${what.padEnd(46)}${figure(c)}${figure(ring9)} ${unit.padEnd(10)}${ratio}`);
  }
}
