/**
 * ether: a network interface as files, `/net/etherN`.
 *
 * Layer: a plugin, over devices/. It opens the device that its options name and puts each queue into the table of
 * queues, as `NAME/0`, `NAME/1`, ...: an inline stack claims it there, and its handle is a Port (core/link.ts). All that
 * is served here looks on beside that owner.
 *
 * What holds always: the device outlives a reload; a frame that nobody wants costs nothing.
 *
 * See ether(3) of Plan 9.
 */

import {
  clone,
  type Cloned,
  ctl,
  type Ctx,
  definePlugin,
  type Described,
  Err,
  type Handle,
  raw,
  toErr,
  tree,
  type User,
} from "../../core/plugin/author.ts";
import type { Kernel } from "../../core/kernel.ts";
import { QueueTable } from "../../core/queues.ts";
import { isPrivileged } from "../../core/users.ts";
import { formatImpairment, parseImpairment } from "../../devices/impair.ts";
import { formatMac, parseMac } from "../../devices/mac.ts";
import { dropNics, holdNics, type Nic, type Observer } from "../../devices/nic.ts";
import { pcapFrame, pcapHeader } from "../../devices/pcap.ts";
import { traceLine } from "../../devices/trace.ts";
import { Conversation } from "./conversation.ts";
import { type EtherOptions, openDevice } from "./device.ts";
import { FrameStream } from "./stream.ts";

const MAX_CONVERSATIONS = 64;
/** Bytes of a capture or trace that wait for one reader. */
const WATCH_BYTES = 8 << 20;
const OWNER_READS = 0o400, OWNER_WRITES = 0o644, OWNER_ONLY = 0o660;

export default definePlugin({
  async start(ctx: Ctx) {
    const options = ctx.options as unknown as EtherOptions, keeper = {};
    const queues = (ctx.kernel as Kernel | undefined)?.queues ?? new QueueTable(ctx.clock, (text) => ctx.log(text));
    const { impair, optional, ...made } = options;
    const around = { clock: ctx.clock, scope: queues, name: ctx.name, log: (text: string) => ctx.log(text) };
    let nics: Nic[];
    try {
      nics = await holdNics(queues, {
        name: ctx.name,
        what: JSON.stringify(made),
        keeper,
        clock: ctx.clock,
        open: () => openDevice(options, around),
      });
    } catch (thrown) {
      if (!optional) throw thrown;
      ctx.log(`${toErr(thrown).message}: there is no interface`);
      return tree({}, ctx);
    }
    ctx.defer(() => dropNics(queues, ctx.name, keeper));
    setImpairment(nics, impair);
    const notice = noticeOf(ctx.name, options);
    if (notice !== "") (ctx.kernel as Kernel | undefined)?.reports.set(`notice.${ctx.name}`, () => notice);
    return tree({ [ctx.name]: etherDir(ctx, nics) }, ctx); // as #l of Plan 9: made to be bound after others at /net
  },
});

/** What whoever boots is to do on the host's side of a TAP. */
function noticeOf(name: string, { device, hostAddress }: EtherOptions): string {
  const [kind, tap] = device.trim().split(/\s+/);
  if (kind !== "tap") return "";
  const other = hostAddress === undefined
    ? `give the host an address there: ip addr add ADDRESS/24 dev ${tap} && ip link set ${tap} up`
    : `the host has ${hostAddress} there (ip addr show dev ${tap})`;
  return `${name} is the TAP ${tap}; ${other}\n`;
}

/** What the directory and its parts share. */
interface Ether {
  ctx: Ctx;
  nics: Nic[];
  conversations: Set<Conversation>;
}

function etherDir(ctx: Ctx, nics: Nic[]): Described {
  const ether: Ether = { ctx, nics, conversations: new Set() };
  return clone({
    limit: MAX_CONVERSATIONS,
    make: (_id, user) => conversationDir(ether, user),
    files: {
      addr: formatMac(nics[0].mac),
      ctl: interfaceCtl(nics),
      stats: () => statsText(ether),
      ifstats: () => ifstatsText(nics),
      snoop: raw({ mode: OWNER_READS, open: () => snoop(ctx, nics) }),
      trace: raw({ mode: OWNER_READS, open: () => trace(nics) }),
    },
  });
}

function interfaceCtl(nics: Nic[]): Described {
  return ctl({
    "impair words...": {
      help:
        "[loss 1%] [delay 10ms] [jitter 2ms] [reorder 2%] [duplicate 1%] [corrupt 1%] [rate 1gbit] [limit 256k] [seed 1] [in|out|both], or off",
      run: (words) => setImpairment(nics, words.join(" ")),
    },
    "spin us:0..1000000": {
      help: "microseconds that an idle device is looked at before it sleeps",
      run(us) {
        for (const { device } of nics) {
          if (!("spinUs" in device)) throw new Err("EOPNOTSUPP", `a ${device.kind} does not wait for the host`);
          device.spinUs = us;
        }
      },
    },
  }, { mode: OWNER_WRITES, read: () => settingsText(nics) });
}

function settingsText(nics: Nic[]): string {
  const [{ impairment, device }] = nics, lines = [`impair ${formatImpairment(impairment) || "off"}`];
  if ("spinUs" in device) lines.push(`spin ${device.spinUs}`);
  if ("gro" in device) lines.push(`offload ${device.checksumOffload ? "on" : "off"}`, `gro ${device.gro}`);
  return lines.map((line) => `${line}\n`).join("");
}

/** Each queue has dice of its own, from one seed. */
function setImpairment(nics: Nic[], text: string): void {
  const what = parseImpairment(text.split(/\s+/).filter((word) => word !== "" && word !== "off"));
  nics.forEach((nic, i) => nic.impairment = { ...what, seed: what.seed + i });
}

/** Raw frames are everybody's mail: they are the hostowner's to read and forge. */
function conversationDir(ether: Ether, user: User): Cloned {
  const { ctx, nics, conversations } = ether;
  if (!isPrivileged(user, ctx.hostowner)) {
    throw new Err("EACCES", `${ctx.name}: frames are for ${ctx.hostowner}, not for ${user.name}`);
  }
  const conversation = new Conversation(nics, () => ctx.clock.monotonic());
  conversations.add(conversation);
  const attr = { uid: user.name, mode: OWNER_ONLY };
  return {
    files: {
      ctl: conversationCtl(conversation),
      data: raw({
        ...attr,
        read: (dst, _offset, req) => conversation.read(dst, req),
        write: (data, _offset, req) => conversation.write(data, req),
        length: () => conversation.stream.length,
      }),
      stats: () => statsText(ether),
      ifstats: () => `queued: ${conversation.stream.length}\ndropped: ${conversation.stream.dropped}\n`,
      type: () => `${conversation.type ?? 0}\n`,
    },
    close() {
      conversations.delete(conversation);
      conversation.close();
    },
  };
}

function conversationCtl(conversation: Conversation): Described {
  return ctl({
    "connect type:-2..65535": {
      help: "frames of an ethertype (2048 or 0x800 is IP), -1 all, -2 the headers of all",
      run: (type) => conversation.connect(type),
    },
    promiscuous: { help: "frames for others, too", run: () => void (conversation.promiscuous = true) },
    headersonly: {
      help: "58 bytes of each frame, then its length[2] and the time in milliseconds[4], big-endian",
      run: () => void (conversation.headersOnly = true),
    },
    allmulti: { help: "frames for all groups, too", run: () => void (conversation.allMulti = true) },
    "addmulti mac": { help: "frames for a group, too", run: (mac) => conversation.addMulti(parseMac(mac)) },
    "remmulti mac": { help: "no longer", run: (mac) => conversation.removeMulti(parseMac(mac)) },
    "nonblocking [on:bool]": {
      help: "reads fail with EAGAIN when there is nothing",
      run: (on = true) => void (conversation.stream.nonblocking = on),
    },
    "batch [on:bool]": {
      help: "reads and writes carry records: length[4] and virtio header[12], little-endian, then the frame",
      run: (on = true) => conversation.setBatch(on),
    },
  }, { mode: OWNER_ONLY });
}

function statsText({ nics, conversations }: Ether): string {
  const sum = (key: string) => nics.reduce((total, nic) => total + (nic.counters()[key] ?? 0), 0);
  let soft = 0, promiscuous = 0;
  for (const { stream, promiscuous: isProm } of conversations) {
    soft += stream.dropped;
    if (isProm) promiscuous++;
  }
  const lines: [string, string | number][] = [
    ["driver", nics[0].kind],
    ["in", sum("inPackets")],
    ["link", 1],
    ["out", sum("outPackets")],
    ["crc errs", 0],
    ["overflows", sum("inDrops")],
    ["soft overflows", soft],
    ["framing errs", 0],
    ["buffer errs", 0],
    ["output errs", sum("outDrops")],
    ["prom", promiscuous],
    ["mtu", nics[0].mtu],
    ["feat", `${nics[0].checksumOffload ? "csum " : ""}${nics[0].gsoMaxBytes > 0 ? "gso " : ""}`.trim() || "-"],
    ["addr", formatMac(nics[0].mac)],
  ];
  return lines.map(([key, value]) => `${key}: ${value}\n`).join("");
}

/** Every counter of every queue. */
function ifstatsText(nics: Nic[]): string {
  return nics.map((nic) => {
    const lines = Object.entries(nic.counters()).map(([key, value]) => `${nic.name} ${key}: ${value}\n`);
    return lines.join("");
  }).join("");
}

/**
 * What passes, as bytes of a file that grows while it is read: each reader has its own, from when it opened. Nothing is
 * made while nobody reads.
 */
function watch(nics: Nic[], head: Uint8Array, show: (...seen: Parameters<Observer>) => Uint8Array): Handle {
  const stream = new FrameStream("bytes", WATCH_BYTES);
  if (head.length > 0) stream.push(head);
  const stops = nics.map((nic) => nic.observe((...seen) => stream.push(show(...seen))));
  return {
    read: (dst, _offset, req) => stream.read(dst, req),
    close() {
      for (const stop of stops) stop();
      stream.end();
    },
  };
}

/** A capture, as tcpdump and Wireshark read it. */
function snoop(ctx: Ctx, nics: Nic[]): Handle {
  return watch(
    nics,
    pcapHeader(nics[0].medium),
    (_way, bytes, at, end, info) => pcapFrame(bytes, at, end, info, ctx.clock.now()),
  );
}

/** A line a frame. */
function trace(nics: Nic[]): Handle {
  const { medium } = nics[0], encoder = new TextEncoder();
  return watch(
    nics,
    new Uint8Array(0),
    (way, bytes, at, end, info) => encoder.encode(traceLine(way, bytes, at, end, { medium, info }) + "\n"),
  );
}
