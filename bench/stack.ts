/**
 * A node for measurements by others: the real plugins ether and ip on a TAP, serving discard (9), source (19) and echo
 * (7, TCP and UDP) through the files of /net.
 *
 * Run as root: TAP=tap0 IP=10.0.0.2 PEERIP=10.0.0.1 MASK=255.255.255.0 MTU=1500 deno task bench:stack [--no-offload]
 *
 * `PEERIP` is Linux's address, set on the TAP if it is not there yet. `--no-offload` turns the vnet header off: each frame
 * has its checksum and no more than the MTU; `--no-gro`, that Linux does not merge those then. `--cc NAME` chooses the congestion control, `--spin US` how long an idle device is looked
 * at before it sleeps. It prints `ready` when it serves, and runs until it is stopped.
 */

import { DELIVERED, Req, type User } from "../core/dev.ts";
import { Err, toErr } from "../core/err.ts";
import { Export } from "../core/export.ts";
import { hostClock } from "../core/host/clock.ts";
import { turn } from "../core/host/turn.ts";
import { Kernel } from "../core/kernel.ts";
import { MAFTER, MREPL } from "../core/mount.ts";
import { checkOptions, parseManifest } from "../core/plugin/manifest.ts";
import type { Ctx, Plugin } from "../core/plugin/plugin.ts";
import { type MaybePromise, ORDWR } from "../core/p9/types.ts";
import { then } from "../core/tree_node.ts";
import type { NsChan } from "../core/walk.ts";
import { ipFromV4, parseIp, parseMask, V4_BITS } from "../net/addr.ts";
import { CC_NAMES } from "../net/tcp/cc/algorithms.ts";
import { micros, oneOf, onOff, readFlags, refuse } from "./flags.ts";

/** What one read or write carries. */
const IO_BYTES = 64 << 10, MAX_DATAGRAM = 65_535 + 52;

const flags = readFlags("bench:stack", {
  "no-offload": onOff(),
  "no-gro": onOff(),
  cc: oneOf(CC_NAMES, "bbr"),
  spin: micros(50),
});

/** A variable of the environment. */
function env(name: string, otherwise?: string): string {
  const value = Deno.env.get(name) ?? otherwise;
  if (value !== undefined) return value;
  return refuse(
    "bench:stack",
    `${name} is not set (try: TAP=tap0 IP=10.0.0.2 PEERIP=10.0.0.1 MASK=255.255.255.0 MTU=1500)`,
  );
}

const tap = env("TAP"), ip = env("IP"), peer = env("PEERIP"), mtu = Number(env("MTU", "1500"));
const bits = prefixBits(env("MASK", "255.255.255.0"));
const kernel = new Kernel({ clock: hostClock, hostowner: "bench" });

try {
  await load("root", "root", {});
  await load("ether", "ether0", {
    device: `tap ${tap}`,
    mtu,
    offload: !flags["no-offload"],
    gro: !flags["no-gro"],
    spinUs: flags.spin,
    ...isThere(tap) ? {} : { hostAddress: `${peer}/${bits}` },
  });
  await load("ip", "ip", { device: "ether0", address: `${ip}/${bits}`, cc: flags.cc });
} catch (thrown) {
  refuse("bench:stack", toErr(thrown).message);
}
const init = await kernel.init();
await init.bind("#ip", "/net", MREPL);
await init.bind("#ether0", "/net", MAFTER);
const files = new Export(init.pgrp), user: User = kernel.hostowner;
const encoder = new TextEncoder();
/** What is read goes on from here at once, or is copied. */
const room = new Uint8Array(4 * IO_BYTES);
/** As a server's working directory: what is opened there is found from there. */
const top = await files.attach(user, "", new Req(user)) as NsChan;
const dot = (await files.walk(top, ["net", "tcp"], new Req(user))).chan as NsChan;

for (const [port, serve] of [[9, discard], [19, source], [7, echo]] as const) void listen(port, serve);
void echoDatagrams();
console.log("ready");
await new Promise(() => setInterval(() => {}, 1 << 30));

/** Does something with a call's data; answers how many bytes that were, 0 at the end. */
type Step = () => MaybePromise<number>;

/** Answers every call to a port: `serve` makes the step that is done again and again with a call's data. */
async function listen(port: number, serve: (data: NsChan) => Step): Promise<void> {
  const ctl = await open(["clone"]), names = [await numberOf(ctl), "listen"];
  await write(ctl, `announce ${port}`);
  for (;;) {
    const call = open(names);
    void answer(call instanceof Promise ? await call : call, serve);
  }
}

/** What can be had at once is not waited for: the files answer as they can. */
async function answer(ctl: NsChan, serve: (data: NsChan) => Step): Promise<void> {
  let data: NsChan | undefined;
  const end = (thrown?: unknown): void => {
    if (data !== undefined) files.clunk(data);
    files.clunk(ctl);
    // A peer may reset its connection.
    if (thrown !== undefined && !(thrown instanceof Err)) console.error(toErr(thrown));
  };
  try {
    const id = numberOf(ctl), opened = open([id instanceof Promise ? await id : id, "data"]);
    data = opened instanceof Promise ? await opened : opened;
    goOn(serve(data), end);
  } catch (thrown) {
    end(thrown);
  }
}

/** Repeats a step until it moves nothing, or fails. */
function goOn(step: Step, end: (thrown?: unknown) => void): void {
  try {
    for (let count = step(); count !== 0; count = step()) {
      if (count instanceof Promise) return void count.then((count) => count === 0 ? end() : goOn(step, end), end);
    }
    end();
  } catch (thrown) {
    end(thrown);
  }
}

function discard(data: NsChan): Step {
  return () => readTo(data, ({ length }) => length);
}

function source(data: NsChan): Step {
  const bytes = Uint8Array.from({ length: IO_BYTES }, (_, i) => i * 31 >> 3);
  return () => files.write(data, bytes, 0, new Req(user));
}

function echo(data: NsChan): Step {
  return () => readTo(data, (bytes) => bytes.length === 0 ? 0 : files.write(data, bytes, 0, new Req(user)));
}

/** Gives `use` what is there, or what comes, from where it lies. */
function readTo(data: NsChan, use: (bytes: Uint8Array) => MaybePromise<number>): MaybePromise<number> {
  const req = new Req(user);
  let done: MaybePromise<number> = 0;
  req.deliver = (bytes) => {
    done = use(bytes);
    return true;
  };
  const got = files.read(data, room, 0, req);
  if (typeof got === "number") return use(room.subarray(0, got));
  return then(got, (bytes) => bytes === DELIVERED ? done : use(bytes));
}

/** With headers, one conversation answers everybody: each datagram says where it came from, and goes back there. */
async function echoDatagrams(): Promise<void> {
  const ctl = await open(["..", "udp", "clone"]), into = new Uint8Array(MAX_DATAGRAM);
  await write(ctl, "headers\nannounce 7");
  const data = await open(["..", "udp", await numberOf(ctl), "data"]);
  for (;;) {
    const got = files.read(data, into, 0, new Req(user));
    const bytes = typeof got === "number" ? into.subarray(0, got) : await got;
    await files.write(data, bytes, 0, new Req(user));
  }
}

/** Opens what `names` lead to from the working directory. */
function open(names: string[]): MaybePromise<NsChan> {
  return then(files.walk(dot, names, new Req(user)), ({ chan }) => {
    if (chan === null) throw new Err("ENOENT", `${names.join("/")}: file does not exist`);
    return files.open(chan as NsChan, ORDWR, new Req(user)) as MaybePromise<NsChan>;
  });
}

/** The number of a conversation, as its ctl tells it. */
function numberOf(ctl: NsChan): MaybePromise<string> {
  const got = files.read(ctl, room, 0, new Req(user));
  if (typeof got === "number") return digits(room.subarray(0, got));
  return then(got, digits);
}

function digits(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += String.fromCharCode(bytes[i]);
  return text;
}

async function write(chan: NsChan, text: string): Promise<void> {
  await files.write(chan, encoder.encode(text), 0, new Req(user));
}

/** Starts a plugin in this isolate, as `inline` does. */
async function load(name: string, as: string, options: Record<string, unknown>): Promise<void> {
  const folder = new URL(`../plugins/${name}/`, import.meta.url);
  const manifest = parseManifest(Deno.readTextFileSync(new URL("plugin.json", folder)), `${name}/plugin.json`);
  const { default: plugin } = await import(new URL("mod.ts", folder).href) as { default: Plugin };
  const ctx: Ctx = {
    name: as,
    options: checkOptions(manifest, options as never),
    clock: hostClock,
    turn,
    hostowner: "bench",
    sysname: "bench",
    signal: new AbortController().signal,
    log: (text) => console.error(text),
    random: (bytes) => void crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>),
    defer: () => {},
    kernel,
  };
  await kernel.register(as, await plugin.start(ctx, "fresh"));
}

function isThere(name: string): boolean {
  try {
    Deno.statSync(`/sys/class/net/${name}`);
    return true;
  } catch {
    return false;
  }
}

/** Bits of `255.255.255.0`, `24` or `/24`. */
function prefixBits(mask: string): number {
  const text = /^\d+$/.test(mask) ? `/${mask}` : mask, found = parseMask(text, parseIp(ip) ?? ipFromV4(0));
  if (found === undefined) refuse("bench:stack", `MASK: ${mask} is no mask (of ${ip})`);
  return found - V4_BITS;
}
