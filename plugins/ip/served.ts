/**
 * ServedStack: one stack as files: its protocols, what stands beside them, and its state as one object.
 *
 * Layer: plugins/ip, over net.ts and the protocols; dev.ts makes files of it. What holds always: `save` changes nothing and
 * nothing is polled behind it, so that a stack that goes on from it, here or in another isolate, is the only one that speaks.
 */

import type { Kernel } from "../../core/kernel.ts";
import { Err, toErr } from "../../core/err.ts";
import type { Link } from "../../core/link.ts";
import type { FileNode } from "../../core/tree_node.ts";
import { type Ip, isLinkLocal, isLoopback } from "../../net/addr.ts";
import type { Lease } from "../../net/dhcp/lease.ts";
import { routeCtl } from "../../net/ip/ctl.ts";
import type { SavedStack } from "../../net/stack.ts";
import type { Proto } from "./conv.ts";
import type { IpTree } from "./dev.ts";
import { Dhcp } from "./dhcp.ts";
import { StackDns } from "./dns.ts";
import { type IcmpFiles, IcmpProto, type SavedIcmpFiles } from "./icmp.ts";
import { type Ifc, IfcProto, type SavedIfc } from "./ifc.ts";
import { Media, type Medium } from "./media.ts";
import { Names, type SavedNames } from "./names.ts";
import { Net, type NetOptions, type Surroundings } from "./net.ts";
import { type InterfaceOptions, linesOf } from "./options.ts";
import { type SavedTcpConv, type TcpConv, TcpProto } from "./tcp.ts";
import { topFiles } from "./top.ts";
import { type SavedUdpFiles, type UdpFiles, UdpProto } from "./udp.ts";

const STATE_VERSION = 1;

/** What a stack is served with. */
export interface ServedOptions extends NetOptions {
  /** Its number: `#ip.1`. */
  number: number;
  /** Who owns its queues: the plugin's name. */
  owner: string;
  netdir: string;
  hostname: string;
  /** Lines of ndb that stay. */
  ndb: string;
  /** Undefined outside of the kernel's isolate. */
  kernel: Kernel | undefined;
}

/** Everything of a stack, plain data that can be cloned and sent to another isolate. */
export interface SavedServed {
  version: number;
  stack: SavedStack;
  tcp: SavedTcpConv[];
  udp: SavedUdpFiles[];
  icmp: SavedIcmpFiles[];
  icmpv6: SavedIcmpFiles[];
  ipifc: SavedIfc[];
  names: SavedNames;
  /** By interface; times are counted from the moment of saving. */
  leases: { iface: number; lease: Lease | undefined }[];
}

/** See the head of this file. */
export class ServedStack implements IpTree {
  readonly number: number;
  readonly net: Net;
  readonly protos: readonly Proto[];
  readonly tops: ReadonlyMap<string, FileNode>;
  readonly names: Names;
  readonly #tcp: TcpProto;
  readonly #udp: UdpProto;
  readonly #icmp: IcmpProto;
  readonly #icmpv6: IcmpProto;
  readonly #ipifc: IfcProto;
  readonly #stopped = new AbortController();

  /** `saved`: a state to go on from; its devices are opened anew, under the names that they had. */
  constructor(around: Surroundings, options: ServedOptions, saved?: SavedServed) {
    if (saved !== undefined && saved.version !== STATE_VERSION) {
      throw new Err("EINVAL", `ip: state of version ${saved.version}; this is version ${STATE_VERSION}`);
    }
    const { owner, kernel, hostname, netdir, ndb } = options, opened = new Map<number, Medium>();
    this.number = options.number;
    const net = this.net = new Net(
      around,
      options,
      saved && {
        saved: saved.stack,
        open: (made) => this.#openLinks(new Media(made, owner, kernel), saved.ipifc, opened),
      },
    );
    this.#tcp = new TcpProto(net);
    this.#udp = new UdpProto(net);
    this.#icmp = new IcmpProto(net, true);
    this.#icmpv6 = new IcmpProto(net, false);
    const self = () => ({ ip: this.address, sys: hostname || undefined });
    const protocols = ["tcp", "udp", "icmp", "icmpv6"], dns = new StackDns(net);
    this.names = new Names({ netdir, protocols, self, local: ndb, dns });
    this.#ipifc = new IfcProto(net, new Media(net, owner, kernel), new Dhcp(net, this.names, hostname));
    this.protos = [this.#tcp, this.#udp, this.#icmp, this.#icmpv6, this.#ipifc];
    this.tops = topFiles(net, this.names, this.protos);
    if (saved !== undefined) this.#resume(saved, opened);
  }

  /** The first address that others know it by. */
  get address(): Ip | undefined {
    for (const { addresses } of this.net.stack.ip.ifaces()) {
      const found = addresses.find(({ ip, state }) => state === "ok" && !isLoopback(ip) && !isLinkLocal(ip));
      if (found !== undefined) return found.ip;
    }
    return undefined;
  }

  /** Makes an interface as options say; one that is reached by files once it is there. */
  configure(options: InterfaceOptions): void {
    const device = `ether ${options.device}`, { files, log } = this.net.around;
    if (this.#ipifc.isAtOnce([`bind ${device}`]) || files === undefined) return this.#configure(device, options);
    this.#ipifc.media.known(device, this.#stopped.signal).then((known) => {
      this.#configure(known, options);
      this.net.runner.kick();
    }).catch((thrown) => {
      if (!this.#stopped.signal.aborted) log(`${options.device}: ${toErr(thrown).message}`);
    });
  }

  #configure(device: string, options: InterfaceOptions): void {
    const { ctl, routes } = linesOf(options), { net } = this;
    const ifc = this.#ipifc.bind(device);
    try {
      for (const line of ctl) ifc.command(line);
      for (const line of routes) routeCtl(net.stack.ip, line);
    } catch (thrown) {
      ifc.unbind();
      throw thrown;
    }
    ifc.onLost = () => this.#configureAgain(options);
  }

  /** Makes an interface whose device was taken away as options say, when there is one of that name again. */
  #configureAgain(options: InterfaceOptions): void {
    const { media } = this.#ipifc, { net } = this;
    media.whenBack(options.device!, this.#stopped.signal, () => {
      try {
        this.configure(options);
      } catch (thrown) {
        net.around.log(`${options.device}: ${toErr(thrown).message}`);
      }
      net.runner.kick();
    });
  }

  set forwarding(on: boolean) {
    this.net.stack.ip.forwarding = on;
  }

  /** Devices are given back; conversations end without a word to their peers. */
  stop(): void {
    this.#stopped.abort();
    this.net.stop();
    for (const ifc of this.#ipifc.convs() as Iterable<Ifc>) ifc.medium?.close();
  }

  /** The state; see the head of this file. */
  save(): SavedServed {
    const tcp = [...this.#tcp.convs()] as TcpConv[], { runner } = this.net;
    runner.stop();
    return {
      version: STATE_VERSION,
      stack: this.net.stack.save(tcp.flatMap(({ conn }) => conn ?? [])),
      tcp: tcp.map((conv) => conv.save()),
      udp: Array.from(this.#udp.convs() as Iterable<UdpFiles>, (conv) => conv.save()),
      icmp: Array.from(this.#icmp.convs() as Iterable<IcmpFiles>, (conv) => conv.save()),
      icmpv6: Array.from(this.#icmpv6.convs() as Iterable<IcmpFiles>, (conv) => conv.save()),
      ipifc: Array.from(this.#ipifc.convs() as Iterable<Ifc>, (conv) => conv.save()),
      names: this.names.save(),
      leases: this.#ifcs().flatMap(({ id, dhcp }) => dhcp === undefined ? [] : [{ iface: id, lease: dhcp.save() }]),
    };
  }

  #ifcs(): Ifc[] {
    return [...this.#ipifc.convs()] as Ifc[];
  }

  #openLinks(media: Media, saved: readonly SavedIfc[], opened: Map<number, Medium>): Link[] {
    for (const { id, device } of saved) {
      if (device === undefined) continue;
      try {
        opened.set(id, media.open(device, () => (this.#ipifc.get(id) as Ifc | undefined)?.unbind()));
      } catch (thrown) {
        media.net.around.log(`ip: ${device} is lost: ${toErr(thrown).message}`);
      }
    }
    return Array.from(opened.values(), ({ link }) => link);
  }

  /** Gives the conversations of a saved state back what the stack has of theirs. */
  #resume(saved: SavedServed, opened: Map<number, Medium>): void {
    const { conns, listeners, udp, icmp } = this.net.restored!, { ip } = this.net.stack;
    const connOf = new Map(conns.map((conn) => [conn.tag, conn]));
    const listenerOf = new Map(listeners.map((listener) => [listener.tag, listener]));
    for (const it of saved.tcp) {
      const conv = this.#tcp.place(it.id, it.owner) as TcpConv;
      conv.restore(it, connOf.get(it.id), listenerOf.get(it.id));
    }
    for (const it of saved.udp) (this.#udp.place(it.id, it.owner) as UdpFiles).restore(it, udp.get(it.socket)!);
    for (const [proto, list] of [[this.#icmp, saved.icmp], [this.#icmpv6, saved.icmpv6]] as const) {
      for (const it of list) (proto.place(it.id, it.owner) as IcmpFiles).restore(it, icmp[it.socket]);
    }
    for (const it of saved.ipifc) {
      const ifc = (this.#ipifc.get(it.id) ?? this.#ipifc.place(it.id, it.owner)) as Ifc, iface = ip.iface(it.id);
      ifc.restore(it);
      const medium = opened.get(it.id);
      if (iface !== undefined && medium !== undefined) ifc.resume(iface, medium);
    }
    this.names.restore(saved.names);
    for (const { iface, lease } of saved.leases) {
      const ifc = this.#ipifc.get(iface) as Ifc | undefined;
      if (ifc?.iface !== undefined) ifc.startDhcp(lease);
    }
    this.net.runner.kick();
  }
}
