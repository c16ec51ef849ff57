/**
 * The commands that are written to the ctl of an interface, to arp and to iproute, and what they do.
 *
 * Layer: net/ip, under plugins/ip. A line that is no command throws an Err that says what would be one, and changes nothing.
 * `bind` is answered to the caller: only who has the devices can do it.
 *
 * See ip(3) of Plan 9.
 */

import { Err } from "../../core/err.ts";
import {
  formatIp,
  type Ip,
  ipFromV4,
  isIpv4,
  isUnspecified,
  maskIp,
  parseIp,
  parseMac,
  parseMask,
  UNSPECIFIED,
  V4_BITS,
} from "../addr.ts";
import { contains } from "../addr.ts";
import { prefixOf } from "./addresses.ts";
import type { Iface } from "./iface.ts";
import type { IpLayer } from "./layer.ts";

/** What is left to the caller of `ifaceCtl`. */
export type IfaceRequest = { verb: "bind"; medium: string; path: string } | { verb: "unbind" } | undefined;

const USAGE = {
  bind: "bind ether|loopback|null path",
  add: "add local [mask [remote [mtu [proxy]]]]",
  try: "try local [mask [remote [mtu [proxy]]]]",
  remove: "remove local mask [remote]",
  mtu: "mtu bytes",
  iprouting: "iprouting [0|1]",
  joinmulti: "joinmulti group",
  leavemulti: "leavemulti group",
  add6: "add6 prefix [length onlink auto validlt preflt]",
  ra6: "ra6 name value ...",
  autoconf: "autoconf stable|eui64",
  privacy: "privacy on|off",
  arp: "flush | add [ether] ip mac | del ip",
  route: "flush [tag] | tag name | add target mask gateway [interface] | remove target mask [gateway]",
} as const;

/** A command for an interface; `iface` is undefined while nothing is bound. */
export function ifaceCtl(layer: IpLayer, iface: Iface | undefined, line: string): IfaceRequest {
  const [verb, ...args] = wordsOf(line);
  if (verb === "bind") {
    if (iface !== undefined) throw new Err("EBUSY", "a device is bound already");
    if (args.length < 1) throw bad("bind");
    return { verb, medium: args[0], path: args[1] ?? "" };
  }
  if (iface === undefined) throw new Err("EINVAL", `no device is bound: ${USAGE.bind}`);
  if (verb === "unbind") return { verb };
  const command = Object.hasOwn(COMMANDS, verb) ? COMMANDS[verb] : undefined;
  if (command === undefined) {
    throw new Err("EINVAL", `unknown command ${quote(verb)}: ${Object.keys(COMMANDS).join(" ")}`);
  }
  command(layer, iface, args);
  return undefined;
}

type Command = (layer: IpLayer, iface: Iface, args: string[]) => void;

const COMMANDS: Record<string, Command> = {
  add: (layer, iface, args) => addAddress(layer, iface, args, false),
  try: (layer, iface, args) => addAddress(layer, iface, args, true),
  remove: removeAddress,
  del: removeAddress,
  mtu: (layer, iface, args) => layer.setMtu(iface, intOf(args[0], "mtu")),
  // Packets for this host always are reassembled; the word is taken for those who write it.
  reassemble: () => {},
  iprouting(layer, _iface, [flag = "1"]) {
    if (flag !== "0" && flag !== "1") throw bad("iprouting");
    layer.forwarding = flag === "1";
  },
  joinmulti(layer, iface, [group]) {
    if (!layer.groups.join(iface, ipOf(group, "joinmulti"))) throw new Err("EINVAL", `can not join ${group}`);
  },
  leavemulti: (layer, iface, [group]) => layer.groups.leave(iface, ipOf(group, "leavemulti")),
  add6: addPrefix,
  addpref6: addPrefix,
  ra6: setParams,
  setpar6: setParams,
  recvra6: (layer, iface, [flag = "1"]) => setParams(layer, iface, ["recvra", flag]),
  autoconf(_layer, iface, [kind]) {
    if (kind !== "stable" && kind !== "eui64") throw bad("autoconf");
    iface.autoconf.iid = kind;
  },
  privacy(_layer, iface, [flag]) {
    if (flag !== "on" && flag !== "off") throw bad("privacy");
    iface.autoconf.privacy = flag === "on";
  },
};

function addAddress(layer: IpLayer, iface: Iface, args: string[], ask: boolean): void {
  const usage = ask ? "try" : "add", [local, mask, remote, mtu] = args;
  const ip = ipOf(local, usage), bits = mask === undefined ? classOf(ip) : maskOf(mask, ip, usage);
  const other = remote === undefined || remote === "0" ? undefined : ipOf(remote, usage);
  const isNetwork = other !== undefined && (isUnspecified(other) || contains({ addr: maskIp(ip, bits), bits }, other));
  if (mtu !== undefined && mtu !== "0" && mtu !== "proxy") layer.setMtu(iface, intOf(mtu, usage));
  layer.addresses.add(iface, { ip, bits, remote: isNetwork && bits < 128 ? undefined : other }, ask);
}

function removeAddress(layer: IpLayer, iface: Iface, [local, mask]: string[]): void {
  const ip = ipOf(local, "remove"), address = iface.address(ip);
  if (address === undefined || mask !== undefined && maskOf(mask, ip, "remove") !== address.bits) {
    throw new Err("EADDRNOTAVAIL", `${iface.name} has no address ${local} ${mask ?? ""}`.trimEnd());
  }
  layer.addresses.remove(iface, address);
}

/** What a router advertisement would bring: a prefix on the link, and an address of it. */
function addPrefix(layer: IpLayer, iface: Iface, args: string[]): void {
  const [text, length = "64", onLink = "1", auto = "1", valid = "-1", preferred = "-1"] = args;
  const addr = ipOf(text, "add6"), bits = intOf(length, "add6");
  if (isIpv4(addr) || bits < 0 || bits > 128) throw bad("add6");
  const until = (word: string) => Number(word) < 0 ? Infinity : layer.now + intOf(word, "add6") * 1000;
  const prefix = { addr: maskIp(addr, bits), bits };
  const index = iface.index, expiresAt = until(valid);
  if (onLink === "1") {
    layer.addRoute({ prefix, gateway: undefined, iface: index, tag: "ra", metric: 257, expiresAt });
  }
  const isHost = bits === 64 && auto === "1" && prefix.addr.every((byte, i) => byte === addr[i]);
  if (isHost) layer.routers.prefixByHand(iface, prefix.addr, until(valid), until(preferred));
}

function setParams(layer: IpLayer, iface: Iface, args: string[]): void {
  const { params } = iface;
  if (args.length === 0 || args.length % 2 !== 0) throw bad("ra6");
  for (let i = 0; i < args.length; i += 2) {
    if (!Object.hasOwn(params, args[i])) {
      throw new Err("EINVAL", `no parameter ${quote(args[i])}: ${Object.keys(params).join(" ")}`);
    }
    intOf(args[i + 1], "ra6");
  }
  for (let i = 0; i < args.length; i += 2) {
    const name = args[i] as keyof typeof params, value = Number(args[i + 1]);
    if (name === "recvra") value === 0 ? layer.routers.stop(iface) : layer.routers.start(iface);
    else params[name] = value;
    if (name === "ttl" && value > 0) iface.hopLimit = Math.min(value, 255);
  }
  layer.changed();
}

/** A command written to arp. */
export function arpCtl(layer: IpLayer, line: string): void {
  const [verb, ...args] = wordsOf(line);
  if (verb === "flush" && args.length === 0) {
    for (const iface of layer.ifaces()) layer.neighbors.forget(iface);
    layer.changed();
    return;
  }
  if (verb === "add") {
    const [ip, mac] = args.length === 3 ? args.slice(1) : args;
    const bytes = mac === undefined ? undefined : parseMac(mac);
    if (bytes === undefined || args.length === 3 && args[0] !== "ether") throw bad("arp");
    const addr = ipOf(ip, "arp");
    return layer.neighbors.setPermanent(onLinkIface(layer, addr), addr, bytes);
  }
  if (verb !== "del" || args.length !== 1) throw bad("arp");
  const addr = ipOf(args[0], "arp"), gone = [...layer.ifaces()].filter((iface) => layer.neighbors.forget(iface, addr));
  if (gone.length === 0) throw new Err("ENOENT", `no entry for ${args[0]}`);
}

/** A command written to iproute; `tag` is what the open file was tagged with. Answers the tag from here on. */
export function routeCtl(layer: IpLayer, line: string, tag = "none"): string {
  const [verb, ...args] = wordsOf(line);
  switch (verb === "route" ? args.shift() : verb) {
    case "flush":
      layer.routes.removeIf((route) => route.tag !== "ifc" && (args.length === 0 || route.tag === args[0]));
      layer.changed();
      return tag;
    case "tag":
      if (args.length !== 1) throw bad("route");
      return args[0].slice(0, 4);
    case "add":
      addRoute(layer, args, tag);
      return tag;
    case "remove":
    case "del": {
      const { prefix, gateway } = routeArgs(args);
      if (layer.routes.remove(prefix, gateway) === 0) throw new Err("ENOENT", `no route to ${args[0]} ${args[1]}`);
      layer.changed();
      return tag;
    }
  }
  throw bad("route");
}

function addRoute(layer: IpLayer, args: string[], tag: string): void {
  const { prefix, gateway } = routeArgs(args);
  if (gateway === undefined) throw bad("route");
  const isSelf = layer.addresses.find(gateway)?.kind === "unicast";
  const index = args[3] === undefined ? undefined : intOf(args[3], "route");
  const iface = index === undefined ? onLinkIface(layer, gateway) : layer.iface(index);
  if (iface === undefined) throw new Err("ENODEV", `no interface ${args[3]}`);
  const via = isSelf ? undefined : gateway;
  layer.addRoute({ prefix, gateway: via, iface: iface.index, tag, metric: 0, expiresAt: Infinity });
}

/** Target, mask and gateway. What is 0 is of the version that the gateway is. */
function routeArgs([target, mask, via]: string[]): { prefix: { addr: Ip; bits: number }; gateway: Ip | undefined } {
  if (target === undefined || mask === undefined) throw bad("route");
  const gateway = via === undefined ? undefined : ipOf(via, "route");
  const isZero = target === "0" || target === "::";
  const v6 = isZero && (gateway === undefined ? target === "::" : !isIpv4(gateway));
  const addr = isZero ? v6 ? UNSPECIFIED : ipFromV4(0) : ipOf(target, "route");
  const bits = mask === "0" || mask === "/0" ? v6 ? 0 : V4_BITS : maskOf(mask, addr, "route");
  return { prefix: { addr: maskIp(addr, bits), bits }, gateway };
}

/** The interface whose network an address is of. */
function onLinkIface(layer: IpLayer, ip: Ip): Iface {
  const self = layer.addresses.find(ip);
  if (self !== undefined) return self.iface;
  for (const iface of layer.ifaces()) {
    if (iface.addresses.some((address) => address.state === "ok" && contains(prefixOf(address), ip))) return iface;
  }
  const route = layer.routes.lookup(ip, layer.isUsable), iface = route && layer.iface(route.iface);
  if (iface === undefined) throw new Err("ENETUNREACH", `no interface is on the network of ${formatIp(ip)}`);
  return iface;
}

/** The mask that an address without one has: that of its class; all bits in IPv6. */
function classOf(ip: Ip): number {
  if (!isIpv4(ip)) return 128;
  return V4_BITS + (ip[12] < 128 ? 8 : ip[12] < 192 ? 16 : 24);
}

function wordsOf(line: string): string[] {
  const words = line.trim().split(/\s+/);
  if (words[0] === "") throw new Err("EINVAL", "an empty command");
  return words;
}

function ipOf(word: string | undefined, usage: keyof typeof USAGE): Ip {
  const ip = word === undefined ? undefined : word === "0" ? ipFromV4(0) : parseIp(word);
  if (ip === undefined) throw word === undefined ? bad(usage) : new Err("EINVAL", `not an IP address: ${quote(word)}`);
  return ip;
}

function maskOf(word: string, ip: Ip, usage: keyof typeof USAGE): number {
  const bits = parseMask(word, ip);
  if (bits === undefined) throw new Err("EINVAL", `not a mask: ${quote(word)} (${USAGE[usage]})`);
  return bits;
}

function intOf(word: string | undefined, usage: keyof typeof USAGE): number {
  if (word === undefined || !/^\d{1,10}$/.test(word)) throw bad(usage);
  return Number(word);
}

function bad(usage: keyof typeof USAGE): Err {
  return new Err("EINVAL", `usage: ${USAGE[usage]}`);
}

/** What was written, short enough for a message. */
function quote(word: string): string {
  return JSON.stringify(word.slice(0, 40));
}
