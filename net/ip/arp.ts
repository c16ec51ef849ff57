/**
 * ARP: asking, answering, announcing, and seeing that another host has an address of ours.
 *
 * Layer: net/ip, above neighbors.ts, beside nd.ts.
 * What holds always: nothing is learned from a host that is not on one of the interface's networks, nor from a reply that
 * nobody asked for, except a new MAC address of a neighbour that is known.
 *
 * See RFC 826, RFC 5227 (probes, conflicts), RFC 1122, 2.3.2.
 */

import { BROADCAST_MAC, contains, type Ip, ipFromV4, ipv4Of } from "../addr.ts";
import { Arp, ARP_BYTES, ARP_REPLY, ARP_REQUEST, emitArp } from "../wire/arp.ts";
import { ETHERTYPE } from "../wire/ethernet.ts";
import { matches } from "../wire/packet.ts";
import { prefixOf } from "./addresses.ts";
import type { Address, Iface } from "./iface.ts";
import type { IpLayer } from "./layer.ts";
import type { Neighbor } from "./neighbors.ts";

const NO_MAC = new Uint8Array(6);

export class ArpSide {
  readonly #layer: IpLayer;
  readonly #arp = new Arp();
  readonly #scratch = new Uint8Array(ARP_BYTES);

  constructor(layer: IpLayer) {
    this.#layer = layer;
  }

  /** A message that came in bytes [at, end); `src` of its frame is where it says it is from, or it is not believed. */
  input(iface: Iface, bytes: Uint8Array, at: number, end: number, frameSrcAt: number): void {
    const arp = this.#arp, { counters } = this.#layer;
    counters.ArpIn++;
    const isBad = arp.parse(bytes, at, end) !== undefined || (arp.senderMac[0] & 1) !== 0 ||
      !matches(bytes, frameSrcAt, arp.senderMac);
    if (isBad) {
      counters.ArpInErrors++;
      return;
    }
    if (matches(arp.senderMac, 0, iface.link.mac) || this.#isConflict(iface)) return;
    const sender = ipFromV4(arp.sender), isOnLink = arp.sender !== 0 && this.#isOnLink(iface, sender);
    if (isOnLink) {
      const solicited = arp.op === ARP_REPLY && !arp.isAnnouncement;
      this.#layer.neighbors.advert(iface, sender, arp.senderMac, { solicited, override: true }, this.#layer.now);
    }
    const target = this.#layer.addresses.find4(arp.target);
    if (arp.op !== ARP_REQUEST || target?.kind !== "unicast" || target.iface !== iface) return;
    if (isOnLink) this.#layer.neighbors.learn(iface, sender, arp.senderMac);
    if (isOnLink || arp.isProbe) this.#reply(iface);
  }

  /** Asks for a neighbour's address. */
  solicit(iface: Iface, neighbor: Neighbor, unicast: boolean): void {
    const source = sourceFor(iface, neighbor.ip);
    if (source === undefined) return;
    const to = unicast ? neighbor.mac : BROADCAST_MAC;
    this.#send(iface, to, ARP_REQUEST, ipv4Of(source.ip), NO_MAC, ipv4Of(neighbor.ip));
  }

  /** Asks whether another host has the address, without telling that it could be ours. */
  probe(iface: Iface, address: Address): void {
    this.#send(iface, BROADCAST_MAC, ARP_REQUEST, 0, NO_MAC, ipv4Of(address.ip));
  }

  /** Tells all that the address is ours. */
  announce(iface: Iface, address: Address): void {
    const word = ipv4Of(address.ip);
    this.#send(iface, BROADCAST_MAC, ARP_REQUEST, word, NO_MAC, word);
  }

  /** Another host speaks from our address, or asks for the one that we ask for (RFC 5227, 2.1.1). */
  #isConflict(iface: Iface): boolean {
    const arp = this.#arp;
    for (const address of iface.addresses) {
      const word = ipv4Of(address.ip);
      const isSame = word === arp.sender || arp.isProbe && address.state === "tentative" && word === arp.target;
      if (!isSame || address.ip[10] !== 0xff || address.ip[0] !== 0) continue;
      this.#layer.addresses.conflict(iface, address, arp.senderMac);
      return true;
    }
    return false;
  }

  #isOnLink(iface: Iface, ip: Ip): boolean {
    return iface.addresses.some((address) => address.state === "ok" && contains(prefixOf(address), ip));
  }

  #reply(iface: Iface): void {
    const arp = this.#arp;
    this.#send(iface, arp.senderMac, ARP_REPLY, arp.target, arp.senderMac, arp.sender);
  }

  #send(iface: Iface, to: Uint8Array, op: number, sender: number, targetMac: Uint8Array, target: number): void {
    const senderMac = iface.link.mac;
    const end = emitArp(this.#scratch, 0, { op, senderMac, sender, targetMac, target });
    this.#layer.output.frame(iface, to, ETHERTYPE.arp, this.#scratch, end);
  }
}

/** The address to ask from: of the network that the neighbour is on, if there is one. */
function sourceFor(iface: Iface, ip: Ip): Address | undefined {
  const isOf = (address: Address) => address.state === "ok" && contains(prefixOf(address), ip);
  return iface.addresses.find(isOf) ?? iface.anyAddress(true);
}
