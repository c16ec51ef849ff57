/**
 * DHCP on a stack's interfaces: gives the clients their socket and their time, and does what a lease says.
 *
 * Layer: plugins/ip, over net/dhcp. One socket on port 68 serves all interfaces; a message is its client's by its
 * transaction and address. What holds always: an address is used only after nobody else was found to have it; what a
 * lease brought (address, routes, MTU, an entry of ndb) goes with it.
 */

import { Err } from "../../core/err.ts";
import { formatIpv4, type Ip, ipFromV4, V4_BITS } from "../../net/addr.ts";
import { DhcpClient, type DhcpSend } from "../../net/dhcp/client.ts";
import { type Lease, ndbOfLease } from "../../net/dhcp/lease.ts";
import type { Iface } from "../../net/ip/iface.ts";
import type { UdpConv } from "../../net/udp/conv.ts";
import type { Names } from "./names.ts";
import type { Net } from "./net.ts";
import type { Job } from "./runner.ts";

const CLIENT_PORT = 68, SERVER_PORT = 67, MAX_MESSAGE = 1500, TAG = "dhcp";

/** DHCP of one stack. */
export class Dhcp {
  readonly clients = new Set<DhcpRunner>();
  #socket: UdpConv | undefined;
  readonly #buffer = new Uint8Array(MAX_MESSAGE);

  constructor(readonly net: Net, readonly names: Names, readonly hostname: string) {}

  /** Begins on an interface; `changed` is called when its address is another one. With a saved lease it goes on. */
  start(iface: Iface, changed: () => void, lease?: Lease): DhcpRunner {
    if (this.#socket === undefined) {
      const socket = this.net.stack.udp.open();
      socket.announce(CLIENT_PORT, ipFromV4(0));
      socket.broadcast = true;
      socket.onChange = () => this.#received(socket);
      this.#socket = socket;
    }
    const runner = new DhcpRunner(this, iface, changed, lease);
    this.clients.add(runner);
    this.net.runner.add(runner);
    return runner;
  }

  /** For a client that ends. */
  ended(runner: DhcpRunner): void {
    this.net.runner.remove(runner);
    this.clients.delete(runner);
    if (this.clients.size > 0) return;
    this.#socket?.close();
    this.#socket = undefined;
  }

  send(iface: Iface, { bytes, src, dst }: DhcpSend): void {
    const socket = this.#socket!;
    socket.iface = iface.index;
    const to = { remote: ipFromV4(dst), remotePort: SERVER_PORT, local: ipFromV4(src) };
    socket.send(bytes, 0, bytes.length, this.net.runner.now, to);
  }

  #received(socket: UdpConv): void {
    const { now } = this.net.runner;
    for (;;) {
      let count: number;
      try {
        count = socket.recv(this.#buffer, 0, MAX_MESSAGE);
      } catch {
        continue; // a server's host says that nobody is there: another may answer
      }
      if (count < 0) break;
      for (const { client } of this.clients) if (client.input(this.#buffer, now, 0, count)) break;
    }
    this.net.runner.kick();
  }
}

/** The client of one interface. */
export class DhcpRunner implements Job {
  readonly client: DhcpClient;
  readonly #dhcp: Dhcp;
  readonly #iface: Iface;
  readonly #changed: () => void;
  /** The address that is the lease's. */
  #ip: Ip | undefined;

  constructor(dhcp: Dhcp, iface: Iface, changed: () => void, lease?: Lease) {
    const { net, hostname } = dhcp;
    this.#dhcp = dhcp;
    this.#iface = iface;
    this.#changed = changed;
    const { mac } = iface.link;
    this.client = new DhcpClient({ mac, random: net.random32, hostname: hostname || undefined, checkConflict: true });
    const now = net.runner.tick(), old = lease && shifted(lease, now);
    if (old !== undefined && iface.address(ipFromV4(old.address)) !== undefined) {
      this.#ip = ipFromV4(old.address);
      this.client.adopt(old, now);
    } else this.client.start(now, old);
  }

  /** `bound 10.0.0.5 lease 3600`, or the state alone. */
  get status(): string {
    const { state, lease } = this.client;
    if (lease === undefined) return state;
    const left = lease.endMs === Infinity
      ? "for ever"
      : `${Math.max(0, Math.round((lease.endMs - this.#dhcp.net.runner.now) / 1000))}`;
    return `${state} ${formatIpv4(lease.address)} server ${formatIpv4(lease.server)} lease ${left}`;
  }

  /** The lease, its times counted from now. */
  save(): Lease | undefined {
    const { client: { lease, state } } = this;
    if (lease === undefined || state === "checking") return undefined;
    return shifted(lease, -this.#dhcp.net.runner.tick());
  }

  renew(): void {
    const { lease } = this.client;
    this.client.start(this.#dhcp.net.runner.tick(), lease);
    this.#dhcp.net.runner.kick();
  }

  /** Gives the lease back, and ends. */
  stop(): void {
    const { net } = this.#dhcp;
    net.stack.ip.at(net.runner.tick());
    this.client.release(net.runner.now);
    this.poll(net.runner.now);
    this.#drop();
    this.#dhcp.ended(this);
    net.runner.kick();
  }

  pollAt(): number {
    return this.#verdict() === undefined ? this.client.pollAt() : 0;
  }

  poll(now: number): void {
    const { client } = this;
    if (this.#verdict() === "ok") client.claim(now);
    else if (this.#verdict() === "duplicated") {
      this.#drop();
      client.conflict(now);
    }
    for (let send = client.poll(now); send !== undefined; send = client.poll(now)) {
      try {
        this.#dhcp.send(this.#iface, send);
      } catch (thrown) {
        if (!(thrown instanceof Err)) throw thrown;
        this.#dhcp.net.log.note("udp", `dhcp on ${this.#iface.name}: ${thrown.message}`);
      }
    }
    this.#events();
  }

  /** What came of asking whether another host has the address that is being checked. */
  #verdict(): "ok" | "duplicated" | undefined {
    if (this.client.state !== "checking" || this.#ip === undefined) return undefined;
    const state = this.#iface.address(this.#ip)?.state ?? "duplicated";
    return state === "tentative" ? undefined : state;
  }

  #events(): void {
    for (let event = this.client.takeEvent(); event !== undefined; event = this.client.takeEvent()) {
      if (event === "lost") this.#drop();
      else if (event === "probe") this.#use(this.client.lease!, true);
      else if (event === "bound") this.#bound(this.client.lease!);
    }
  }

  /** Puts the address on the interface; when `ask`, after having asked whether another has it. */
  #use({ address, bits }: Lease, ask: boolean): void {
    const { ip } = this.#dhcp.net.stack, wanted = ipFromV4(address);
    this.#ip = wanted;
    if (this.#iface.address(wanted) === undefined) {
      ip.addresses.add(this.#iface, { ip: wanted, bits: V4_BITS + bits }, ask);
    }
    this.#changed();
  }

  #bound(lease: Lease): void {
    const { names, hostname, net } = this.#dhcp, { ip } = net.stack, iface = this.#iface;
    this.#use(lease, false);
    if (lease.mtu !== undefined && lease.mtu <= iface.link.mtu) ip.setMtu(iface, lease.mtu);
    this.#removeRoutes();
    for (const { addr, bits, gateway } of lease.routes) {
      const prefix = { addr: ipFromV4(addr), bits: V4_BITS + bits };
      const via = gateway === 0 ? undefined : ipFromV4(gateway);
      ip.addRoute({ prefix, gateway: via, iface: iface.index, tag: TAG, metric: 0, expiresAt: Infinity });
    }
    names.setLease(iface.index, ndbOfLease(lease, hostname || undefined));
    net.around.log(`${iface.name}: ${this.status}`);
    this.#changed();
  }

  #drop(): void {
    const { ip } = this.#dhcp.net.stack;
    const address = this.#ip && this.#iface.address(this.#ip);
    if (address !== undefined) ip.addresses.remove(this.#iface, address);
    this.#ip = undefined;
    this.#removeRoutes();
    this.#dhcp.names.setLease(this.#iface.index, "");
    this.#changed();
  }

  #removeRoutes(): void {
    const { ip } = this.#dhcp.net.stack;
    ip.routes.removeIf((route) => route.iface === this.#iface.index && route.tag === TAG);
    ip.changed();
  }
}

/** A lease by another clock. */
function shifted(lease: Lease, ms: number): Lease {
  const { startMs, t1Ms, t2Ms, endMs } = lease;
  return { ...lease, startMs: startMs + ms, t1Ms: t1Ms + ms, t2Ms: t2Ms + ms, endMs: endMs + ms };
}
