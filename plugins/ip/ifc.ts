/**
 * Interfaces: `/net/ipifc/N`. 0 is the loopback; others are made by opening clone and binding a device.
 *
 * Layer: plugins/ip, over net/ip/ctl.ts; media.ts knows the devices. An interface that has a device stays when the last
 * of its files is closed.
 *
 * See ip(3) of Plan 9 (ipifc).
 */

import type { Req } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { formatIp } from "../../net/addr.ts";
import type { Lease } from "../../net/dhcp/lease.ts";
import { ifaceCtl } from "../../net/ip/ctl.ts";
import type { Iface } from "../../net/ip/iface.ts";
import { formatIfaceStatus, formatIpStats } from "../../net/ip/text.ts";
import type { Readiness } from "../../net/tcp/conn.ts";
import { linesOf, type Verbs } from "./command.ts";
import { Conv, IDLE, Proto, type SavedConv, type Watch } from "./conv.ts";
import type { Dhcp, DhcpRunner } from "./dhcp.ts";
import type { Media, Medium } from "./media.ts";
import type { Net } from "./net.ts";

const MAX_INTERFACES = 64;

/** As saved: an interface that has a device is the stack's under the same number. */
export interface SavedIfc extends SavedConv {
  /** What was bound, as it is written to ctl; undefined: nothing. */
  device: string | undefined;
}

/** `/net/ipifc`. */
export class IfcProto extends Proto {
  constructor(readonly net: Net, readonly media: Media, readonly dhcp: Dhcp) {
    super("ipifc", MAX_INTERFACES);
    const loopback = this.place(0, net.around.hostowner) as Ifc;
    loopback.iface = net.stack.ip.loopback;
  }

  get stats(): string {
    return formatIpStats(this.net.stack.ip);
  }

  /** Whether lines of ctl can be obeyed at once: a device that is reached by files has to be asked first. */
  isAtOnce(lines: string[]): boolean {
    return this.media.kernel !== undefined || !lines.some((line) => /^\s*bind\s+ether\s/.test(line));
  }

  /** The network's configuration is the hostowner's. */
  override get clonePerm(): number {
    return 0o660;
  }

  protected make(id: number, serial: number, owner: string): Ifc {
    return new Ifc(this, id, serial, owner);
  }

  /** A new interface on a device, `ether /net/ether0`. */
  bind(device: string): Ifc {
    const ifc = this.clone({ name: this.net.around.hostowner }) as Ifc;
    try {
      ifc.bind(device);
      return ifc;
    } catch (thrown) {
      ifc.close();
      throw thrown;
    }
  }
}

/** See the head of this file. */
export class Ifc extends Conv {
  declare readonly proto: IfcProto;
  iface: Iface | undefined;
  /** What carries its frames; undefined for the loopback. */
  medium: Medium | undefined;
  dhcp: DhcpRunner | undefined;
  /** Called when its device was taken away, and the interface is no more; undefined once it was unbound. */
  onLost: (() => void) | undefined;

  get ready(): Readiness {
    return this.medium?.ready ?? IDLE;
  }

  get status(): string {
    const { iface } = this, dhcp = this.dhcp === undefined ? "" : `\tdhcp ${this.dhcp.status}\n`;
    if (iface === undefined) return "Closed\n";
    return formatIfaceStatus(iface, this.proto.net.stack.ip.now) + dhcp;
  }

  override get eventLine(): string {
    return `${
      this.status.split("\n").slice(1).map((line) => line.trim().split(/\s+/)[0]).join(" ").trim() || "none"
    }\n`;
  }

  get local(): string {
    return (this.iface?.addresses ?? []).map(({ ip, state }) => `${formatIp(ip)}${state === "ok" ? "" : ` ${state}`}\n`)
      .join("");
  }

  get remote(): string {
    return "";
  }

  get length(): number {
    return this.medium?.length ?? 0;
  }

  protected get verbs(): Verbs<this> {
    return {};
  }

  override get watch(): Watch {
    return (see) =>
      this.proto.net.observe((iface, _isOut, bytes, at, end) => iface === this.iface && see(bytes, at, end));
  }

  read(dst: Uint8Array, req: Req): number | MaybePromise<Uint8Array> {
    if (this.medium?.read === undefined) throw new Err("EOPNOTSUPP", "this medium has no packets in files");
    return this.medium.read(dst, req);
  }

  write(data: Uint8Array): number {
    if (this.medium?.write === undefined) throw new Err("EOPNOTSUPP", "this medium has no packets in files");
    return this.medium.write(data);
  }

  override ctl(data: Uint8Array): MaybePromise<void> {
    const lines = linesOf(data);
    if (this.proto.isAtOnce(lines)) return this.#obey(lines);
    return this.#known(lines).then((known) => this.#obey(known), (thrown) => this.failed(thrown));
  }

  #obey(lines: string[]): void {
    try {
      for (const line of lines) this.command(line);
    } catch (thrown) {
      this.failed(thrown);
    } finally {
      this.proto.net.runner.kick();
      this.changed();
    }
  }

  /** The lines, with what is to be known of a device that they bind. */
  async #known(lines: string[]): Promise<string[]> {
    const { media } = this.proto;
    return await Promise.all(lines.map(async (line) => {
      const [, device] = /^\s*bind\s+(.*)$/.exec(line) ?? [];
      return device === undefined ? line : `bind ${await media.known(device)}`;
    }));
  }

  /** One line. */
  command(line: string): void {
    const [verb, ...words] = line.split(/\s+/), { net } = this.proto;
    if (verb === "dhcp") return this.setDhcp(words);
    net.stack.ip.at(net.runner.tick());
    const request = ifaceCtl(net.stack.ip, this.iface, line);
    if (request?.verb === "bind") this.bind(line.replace(/^\s*bind\s+/, ""));
    else if (request?.verb === "unbind") this.unbind();
  }

  /** `dhcp`, `dhcp off`, `dhcp renew`, `dhcp release` */
  setDhcp(words: string[]): void {
    const { iface } = this, [verb = "on"] = words;
    if (iface === undefined || !iface.isEther) throw new Err("EINVAL", "DHCP is for Ethernet interfaces");
    if (verb === "off" || verb === "release") {
      this.dhcp?.stop();
      this.dhcp = undefined;
    } else if (verb === "renew" && this.dhcp !== undefined) this.dhcp.renew();
    else if (verb === "on" || verb === "renew") this.startDhcp();
    else throw new Err("EINVAL", "usage: dhcp [on|off|renew|release]");
  }

  /** Asks for an address; with an old lease for the same one. */
  startDhcp(lease?: Lease): void {
    this.dhcp ??= this.proto.dhcp.start(this.iface!, () => this.changed(), lease);
  }

  /** Goes on with a device that the stack has under this number. */
  resume(iface: Iface, medium: Medium): void {
    this.iface = iface;
    this.medium = medium;
  }

  /** Binds a device, `ether /net/ether0`. */
  bind(device: string): void {
    const { net, media } = this.proto;
    if (this.iface !== undefined) throw new Err("EBUSY", "a device is bound already");
    const medium = media.open(device, () => this.#lose());
    try {
      this.iface = net.stack.bind(medium.link, net.runner.tick(), this.id);
    } catch (thrown) {
      medium.close();
      throw thrown;
    }
    this.medium = medium;
    this.changed();
  }

  /** Its owner takes the device away. */
  #lose(): void {
    const { iface, onLost } = this;
    if (iface === undefined) return;
    const until = onLost === undefined ? "(try: ipconfig)" : "until it is there again";
    this.proto.net.around.log(`${iface.name} was taken away, and its addresses with it, ${until}`);
    this.unbind();
    onLost?.();
  }

  /** Takes the device away, and the addresses with it. */
  unbind(): void {
    const { net } = this.proto, { iface, medium } = this;
    if (iface === undefined) return;
    this.dhcp?.stop();
    net.stack.unbind(iface, net.runner.tick());
    this.dhcp =
      this.iface =
      this.medium =
      this.onLost =
        undefined;
    medium?.close();
    net.runner.kick();
    if (this.opens === 0) this.close();
  }

  override unused(): void {
    if (this.iface === undefined) this.close();
  }

  protected release(): void {
    this.unbind();
  }

  save(): SavedIfc {
    return { ...this.saveCommon(), device: this.medium?.device };
  }

  restore(saved: SavedIfc): void {
    this.restoreCommon(saved);
  }
}
