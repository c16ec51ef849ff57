/**
 * The options of plugin.json, and the interfaces that they ask for.
 *
 * Layer: plugins/ip, pure. The manifest's schema has checked their types; what they mean is checked here.
 */

import { Err } from "../../core/err.ts";
import { formatIp, type Ip, isIpv4, parseIp, parsePrefix } from "../../net/addr.ts";
import { formatEntry } from "../../net/ndb.ts";

/** An interface that is made at the start. */
export interface InterfaceOptions {
  /** `ether0`: an Ethernet interface of this system. */
  device?: string;
  /** Addresses with their prefix lengths, `10.0.0.2/24 fd00::2/64`. */
  address?: string;
  gateway?: string;
  dhcp?: boolean;
  slaac?: boolean;
  mtu?: number;
}

/** The options of plugin.json. */
export interface IpOptions extends InterfaceOptions {
  medium: "ether" | "hostsock" | "auto";
  interfaces?: InterfaceOptions[];
  dns: string;
  domain: string;
  hostname: string;
  ndb: string;
  netdir: string;
  forward: boolean;
  cc: "bbr" | "cubic" | "reno";
  ecn: boolean;
  hostListen: string;
}

/** The interfaces that options ask for, in their order: the one at the top, then the list. */
export function interfacesOf(options: IpOptions): InterfaceOptions[] {
  const { device, address, gateway, dhcp, slaac, mtu, interfaces = [] } = options;
  const first = { device, address, gateway, dhcp, slaac, mtu };
  const isSaid = Object.values(first).some((value) => value !== undefined);
  if (isSaid && device === undefined) {
    throw new Err("EINVAL", "options: an address needs a device (try: device=ether0)");
  }
  const all = device === undefined ? interfaces : [first, ...interfaces];
  for (const each of all) linesOf(each); // what is wrong is said before anything is done
  return all;
}

/** What is written to the ctl of an interface, after its device was bound, and to iproute. */
export function linesOf(options: InterfaceOptions): { ctl: string[]; routes: string[] } {
  const { device, address = "", gateway = "", dhcp = false, slaac = false, mtu } = options, ctl: string[] = [];
  if (device === undefined) throw new Err("EINVAL", "options: an interface needs a device (try: device=ether0)");
  if (mtu !== undefined) ctl.push(`mtu ${mtu}`);
  for (const text of wordsOf(address)) {
    const prefix = parsePrefix(text);
    if (prefix === undefined || !text.includes("/")) {
      throw new Err("EINVAL", `options: ${device}: ${text} is no address with a prefix (try: 10.0.0.2/24)`);
    }
    ctl.push(`add ${text.replace("/", " /")}`);
  }
  if (dhcp) ctl.push("dhcp");
  if (slaac) ctl.push("ra6 recvra 1");
  const routes = wordsOf(gateway).map((text) => {
    const ip = addressOf(text, `${device}: gateway`);
    return `add ${isIpv4(ip) ? "0.0.0.0 0.0.0.0" : ":: /0"} ${formatIp(ip)}`;
  });
  return { ctl, routes };
}

/** The lines of ndb that options make: this host, its domain, its name servers. */
export function ndbOfOptions({ dns, domain, hostname, ndb }: IpOptions, addresses: string[]): string {
  const servers = wordsOf(dns).map((text) => (addressOf(text, "dns"), ["dns", text] as const));
  const ips = addresses.map((text) => ["ip", text.split("/")[0]] as const);
  const sys = hostname === "" ? [] : [["sys", hostname] as const];
  const name = hostname !== "" && domain !== "" ? [["dom", `${hostname}.${domain}`] as const] : [];
  const search = wordsOf(domain).map((each) => ["dnsdomain", each] as const);
  const entry = formatEntry([[...sys, ...name, ...ips], search, servers]);
  return `${ndb === "" || ndb.endsWith("\n") ? ndb : `${ndb}\n`}${entry}`;
}

function addressOf(text: string, what: string): Ip {
  const ip = parseIp(text);
  if (ip === undefined) throw new Err("EINVAL", `options: ${what}: ${text} is no address`);
  return ip;
}

function wordsOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== "");
}
