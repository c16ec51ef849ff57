/**
 * What the files of /net say: arp, iproute, ipselftab, and the status of an interface. Pure functions of the state.
 *
 * Layer: net/ip, under plugins/ip, which serves them. The columns are those of Plan 9, so that its programs read them.
 *
 * See ip(3) of Plan 9.
 */

import { formatIp, formatMac, type Ip, isIpv4, maskIp } from "../addr.ts";
import { formatCounters } from "./counters.ts";
import { prefixOf } from "./addresses.ts";
import type { Iface } from "./iface.ts";
import type { IpLayer } from "./layer.ts";
import type { Route } from "./routes.ts";

/** What Plan 9 writes for a time without end. */
const FOREVER = 0xffffffff;

/** `ether OK 10.0.0.1 001122334455` a line. */
export function formatArp(layer: IpLayer): string {
  let text = "";
  for (const iface of layer.ifaces()) {
    for (const { ip, mac, state } of iface.neighbors.values()) {
      const isKnown = state !== "incomplete" && state !== "failed";
      const name = isKnown ? "OK" : state === "failed" ? "FAIL" : "WAIT";
      text += `${"ether".padEnd(6)} ${name.padEnd(8)} ${formatIp(ip).padEnd(40)} ${isKnown ? formatMac(mac, "") : ""}`
        .trimEnd() + "\n";
    }
  }
  return text;
}

/** `target mask gateway flags tag interface` a line. */
export function formatRoutes(layer: IpLayer): string {
  return layer.routes.list().map((route) => {
    const { prefix, gateway, tag, iface } = route;
    const columns = [
      formatIp(prefix.addr).padEnd(15),
      `/${prefix.bits}`.padEnd(4),
      formatIp(gateway ?? prefix.addr).padEnd(15),
      flagsOf(route).padEnd(4),
      (tag || "none").padEnd(4),
      `${iface}`,
    ];
    return columns.join(" ") + "\n";
  }).join("");
}

/** `4` or `6`, `i` when it is on the link, and of which kind the target is. */
function flagsOf({ prefix, gateway }: Route): string {
  return (isIpv4(prefix.addr) && prefix.bits >= 96 ? "4" : "6") + (gateway === undefined ? "i" : "");
}

/** `address count flags` a line: every address that this host takes packets for; the flag is u, b or m. */
export function formatSelftab(layer: IpLayer): string {
  const counts = new Map<string, number>();
  const add = (ip: Ip, kind: string) => {
    const key = `${formatIp(ip)} ${isIpv4(ip) ? 4 : 6}${kind}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  };
  for (const iface of layer.ifaces()) {
    for (const address of iface.addresses) {
      if (address.state !== "ok") continue;
      add(address.ip, "u");
      for (const ip of broadcastsOf(address.ip, address.bits)) {
        if (layer.addresses.find(ip)?.kind === "broadcast") add(ip, "b");
      }
    }
    for (const group of iface.groups.values()) add(group.ip, "m");
  }
  return [...counts].map(([key, count]) => {
    const [address, flags] = key.split(" ");
    return `${address.padEnd(44)} ${String(count).padStart(2, "0")} ${flags}\n`;
  }).join("");
}

function broadcastsOf(ip: Ip, bits: number): Ip[] {
  const first = maskIp(ip, bits);
  const last = first.map((byte, i) => byte | 0xff >> Math.min(Math.max(bits - i * 8, 0), 8));
  return [last, first];
}

/** The status of an interface: a line of parameters and counters, and one for each address. */
export function formatIfaceStatus(iface: Iface, now: number): string {
  const { params: p, counters: c } = iface;
  const line = `device ${iface.name} maxtu ${iface.mtu} sendra ${p.sendra} recvra ${p.recvra} mflag ${p.mflag} ` +
    `oflag ${p.oflag} maxraint ${p.maxraint} minraint ${p.minraint} linkmtu ${p.linkmtu} reachtime ${p.reachtime} ` +
    `rxmitra ${p.rxmitra} ttl ${iface.hopLimit} routerlt ${p.routerlt} pktin ${c.in} pktout ${c.out} ` +
    `errin ${c.inErrors} errout ${c.outErrors} tracedrop 0\n`;
  const left = (at: number) => at === Infinity ? FOREVER : Math.max(0, Math.round(at - now));
  return line + iface.addresses.map((address) => {
    const { ip, bits, state, validUntil, preferredUntil } = address;
    const remote = formatIp(prefixOf(address).addr);
    const flag = state === "ok" ? "" : ` ${state}`;
    return `\t${formatIp(ip).padEnd(40)} ${`/${bits}`.padEnd(10)} ${remote.padEnd(20)} ` +
      `${`${left(validUntil)}`.padStart(10)} ${`${left(preferredUntil)}`.padStart(10)}${flag}\n`;
  }).join("");
}

/** What ipifc/stats says. */
export function formatIpStats(layer: IpLayer): string {
  return formatCounters({ ...layer.counters, Forwarding: layer.forwarding ? 1 : 2 });
}

/** What icmp/stats and icmpv6/stats say. */
export function formatIcmpStats(layer: IpLayer, v4: boolean): string {
  return formatCounters(v4 ? layer.icmp4 : layer.icmp6);
}
