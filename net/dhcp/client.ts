/**
 * A DHCPv4 client: the state machine of RFC 2131, for one interface.
 *
 * Layer: net/dhcp, pure. Whoever has the interface gives it what arrives at UDP port 68 (`input`), sends what `poll` answers,
 * calls again at `pollAt`, and acts on `takeEvent`. Time is in milliseconds of any clock that does not jump.
 *
 * What holds always: bytes that arrive change nothing unless they are a whole message, a server's, of this exchange
 * (transaction, MAC address, server). The lease in hand stays good until it ends or the server takes it back.
 *
 * With `checkConflict`, an address that was granted is first to be probed by ARP (RFC 5227): the event `probe` asks for it,
 * `claim` or `conflict` answers. It does not relay, and does not authenticate (RFC 3118): nobody does.
 *
 * See RFC 2131, 4.4 and figure 5; RFC 2132; RFC 6842 (client id echoed); RFC 4361 where the caller gives such an id.
 */

import { matches } from "../wire/packet.ts";
import { type Lease, leaseOf } from "./lease.ts";
import { DHCP_OPTION, DHCP_TYPE, type DhcpFields, DhcpMessage, encodeDhcp, long } from "./message.ts";

/** As in RFC 2131's figure 5, and two beside it: an address is being probed; settings are asked for an address set by hand. */
export type DhcpState =
  | "stopped"
  | "init"
  | "selecting"
  | "requesting"
  | "checking"
  | "bound"
  | "renewing"
  | "rebinding"
  | "rebooting"
  | "informing";

/** What has come about: an address is to be probed, the lease is (again) good, it is gone, settings were told. */
export type DhcpEvent = "probe" | "bound" | "lost" | "informed";

/** A message to be sent by UDP from port 68 to port 67. Addresses are numbers; a source of 0 is `0.0.0.0`. */
export interface DhcpSend {
  bytes: Uint8Array;
  src: number;
  dst: number;
}

/** What a client is. */
export interface DhcpClientOptions {
  mac: Uint8Array;
  /** 32 random bits. */
  random: () => number;
  hostname?: string;
  /** Value of option 61, its type byte included; by default type 1 and the MAC address. */
  clientId?: Uint8Array;
  vendorClass?: string;
  /** Whether replies are to be broadcast: true unless packets to an address that is not set yet can be received. */
  broadcast?: boolean;
  checkConflict?: boolean;
}

/** First and last interval between two sendings, and by how much each is shifted at random, up or down. */
const FIRST_RETRY_MS = 4000, LAST_RETRY_MS = 64_000, JITTER_MS = 1000;
/** Requests without an answer before it begins anew; the same while it asks for its old address again. */
const REQUEST_TRIES = 4, REBOOT_TRIES = 3;
/** Renewing and rebinding do not ask more often than this, and waits half of what is left. */
const MIN_RENEW_MS = 60_000;
/** After an address was declined; after a refusal, doubled for each in a row. */
const DECLINE_WAIT_MS = 10_000, NAK_WAIT_MS = 1000, MAX_NAK_WAIT_MS = 64_000;
const MAX_MESSAGE_BYTES = 1472;
const EVERYBODY = -1;

/** What servers are asked to tell. */
const WANTED = Uint8Array.of(
  DHCP_OPTION.classlessRoutes,
  DHCP_OPTION.mask,
  DHCP_OPTION.router,
  DHCP_OPTION.dns,
  DHCP_OPTION.hostname,
  DHCP_OPTION.domain,
  DHCP_OPTION.domainSearch,
  DHCP_OPTION.mtu,
  DHCP_OPTION.broadcast,
  DHCP_OPTION.ntp,
  DHCP_OPTION.leaseTime,
  DHCP_OPTION.t1,
  DHCP_OPTION.t2,
);

/** The client of one interface. */
export class DhcpClient {
  state: DhcpState = "stopped";
  /** The lease in use; in state `checking` the one that is to be probed, in `rebooting` the old one. */
  lease?: Lease;
  /** Messages that were not for this client, or not understood. */
  ignored = 0;

  private readonly options: DhcpClientOptions;
  private readonly message = new DhcpMessage();
  private readonly events: DhcpEvent[] = [];
  private readonly outgoing: DhcpSend[] = [];
  private xid = 0;
  /** When this exchange began, when its last message was sent, when the next is due, and how many there were. */
  private beganMs = 0;
  private sentMs = 0;
  private dueMs = Infinity;
  private tries = 0;
  private naks = 0;
  /** The offer that is being requested. */
  private offer?: Lease;
  /** In `informing`: the address that was set by hand. */
  private ownAddress = 0;

  constructor(options: DhcpClientOptions) {
    this.options = options;
  }

  /** Gets an address; with an old lease (as this object left it) it asks for the same one again, first. */
  start(now: number, old?: Lease): void {
    this.lease = old;
    this.begin(old !== undefined && old.endMs > now ? "rebooting" : "init", now);
  }

  /** Goes on with a lease that is in use, as after an upgrade. */
  adopt(lease: Lease, now: number): void {
    this.lease = lease;
    this.state = "bound";
    this.dueMs = Math.max(lease.t1Ms, now);
  }

  /** Asks for settings only, for an address that was set by other means. */
  inform(now: number, address: number): void {
    this.ownAddress = address;
    this.begin("informing", now);
  }

  /** Gives the address back, and stops. */
  release(now: number): void {
    const { lease } = this;
    if (lease !== undefined && this.usesAddress) {
      this.xid = this.options.random() | 0;
      this.push(lease.server, lease.address, now, DHCP_TYPE.release, { ciaddr: lease.address }, [
        [DHCP_OPTION.serverId, long(lease.server)],
      ]);
    }
    this.stop();
  }

  /** Stops without a word: the address may be asked for again with `start`. */
  stop(): void {
    this.drop();
    this.state = "stopped";
    this.dueMs = Infinity;
  }

  /** Nobody else has the address that `probe` named. */
  claim(now: number): void {
    if (this.state === "checking") this.bind(now);
  }

  /** Somebody else has the address, found by a probe or later. */
  conflict(now: number): void {
    const { lease } = this;
    if (lease === undefined || this.state !== "checking" && !this.usesAddress) return;
    this.xid = this.options.random() | 0;
    this.push(EVERYBODY, 0, now, DHCP_TYPE.decline, {}, [
      [DHCP_OPTION.requestedAddress, long(lease.address)],
      [DHCP_OPTION.serverId, long(lease.server)],
    ]);
    this.drop();
    this.begin("init", now, DECLINE_WAIT_MS);
  }

  /** The next thing that has come about. */
  takeEvent(): DhcpEvent | undefined {
    return this.events.shift();
  }

  /** When `poll` is to be called again; Infinity: not before something else happens. */
  pollAt(): number {
    return this.outgoing.length > 0 ? 0 : this.dueMs;
  }

  /** The next message to be sent; call until there is none. */
  poll(now: number): DhcpSend | undefined {
    if (this.outgoing.length === 0 && now >= this.dueMs) this.due(now);
    return this.outgoing.shift();
  }

  /** What arrived at port 68. Answers whether it was for this client. */
  input(bytes: Uint8Array, now: number, at = 0, end = bytes.length): boolean {
    const { message } = this;
    const mine = message.parse(bytes, at, end) === undefined && message.isReply && message.xid === this.xid &&
      matches(message.chaddr, 0, this.options.mac) && this.handle(now);
    if (!mine) this.ignored++;
    return mine;
  }

  private get usesAddress(): boolean {
    return this.state === "bound" || this.state === "renewing" || this.state === "rebinding";
  }

  private handle(now: number): boolean {
    const { state, message } = this;
    if (state === "selecting") return message.type === DHCP_TYPE.offer && this.offered(now);
    if (state === "informing") return message.type === DHCP_TYPE.ack && this.informed();
    if (state !== "requesting" && state !== "renewing" && state !== "rebinding" && state !== "rebooting") return false;
    const server = message.long(DHCP_OPTION.serverId);
    if (state === "requesting" && server !== this.offer?.server) return false;
    if (state === "renewing" && server !== this.lease?.server) return false;
    if (message.type === DHCP_TYPE.ack) return this.acknowledged(now);
    return message.type === DHCP_TYPE.nak && this.refused(now);
  }

  private offered(now: number): boolean {
    const offer = leaseOf(this.message, this.sentMs);
    if (offer === undefined) return false;
    this.offer = offer;
    this.enter("requesting", now);
    return true;
  }

  private informed(): boolean {
    this.lease = { ...leaseOf(this.message, this.sentMs, true)!, address: this.ownAddress };
    this.state = "stopped";
    this.dueMs = Infinity;
    this.events.push("informed");
    return true;
  }

  private acknowledged(now: number): boolean {
    const lease = leaseOf(this.message, this.sentMs), { state } = this;
    if (lease === undefined) return false;
    const known = this.usesAddress && this.lease?.address === lease.address;
    if (this.usesAddress && !known) this.drop();
    this.lease = lease;
    this.offer = undefined;
    this.naks = 0;
    if (known || state === "rebooting" || !this.options.checkConflict) {
      this.bind(now);
    } else {
      this.state = "checking";
      this.dueMs = Infinity;
      this.events.push("probe");
    }
    return true;
  }

  private bind(now: number): void {
    this.state = "bound";
    this.dueMs = Math.max(this.lease!.t1Ms, now);
    this.events.push("bound");
  }

  private refused(now: number): boolean {
    this.drop();
    this.begin("init", now, Math.min(NAK_WAIT_MS * 2 ** this.naks++, MAX_NAK_WAIT_MS));
    return true;
  }

  /** Nothing is in use any more. */
  private drop(): void {
    if (this.usesAddress) this.events.push("lost");
    this.lease = this.offer = undefined;
  }

  /** A new exchange, after a wait. */
  private begin(state: DhcpState, now: number, waitMs = 0): void {
    this.xid = this.options.random() | 0;
    this.beganMs = now + waitMs;
    this.offer = undefined;
    this.enter(state, now, waitMs);
  }

  private enter(state: DhcpState, now: number, waitMs = 0): void {
    this.state = state;
    this.tries = 0;
    this.dueMs = now + waitMs;
  }

  private due(now: number): void {
    switch (this.state) {
      case "init":
        this.enter("selecting", now);
        return this.discover(now);
      case "selecting":
        return this.discover(now);
      case "requesting":
        return this.tries < REQUEST_TRIES ? this.request(now) : this.restart(now);
      case "rebooting":
        return this.tries < REBOOT_TRIES ? this.request(now) : this.rebooted(now);
      case "bound":
        this.begin("renewing", now);
        return this.extend(now);
      case "renewing":
      case "rebinding":
        return this.extend(now);
      case "informing":
        return this.ask(now);
      default:
        this.dueMs = Infinity;
    }
  }

  private restart(now: number): void {
    this.begin("init", now);
    this.due(now);
  }

  /** No server answered: an old lease that has not ended is used on (RFC 2131, 3.2). */
  private rebooted(now: number): void {
    if (this.lease !== undefined && this.lease.endMs > now) return this.bind(now);
    this.lease = undefined;
    this.restart(now);
  }

  private discover(now: number): void {
    this.retryLater(now);
    const address = this.lease?.address;
    this.push(EVERYBODY, 0, now, DHCP_TYPE.discover, {}, [
      ...(address ? [[DHCP_OPTION.requestedAddress, long(address)] as const] : []),
      ...this.introduction,
    ]);
  }

  /** The offer, or the old address after a restart. */
  private request(now: number): void {
    this.retryLater(now);
    const { offer } = this, address = (offer ?? this.lease)!.address;
    this.push(EVERYBODY, 0, now, DHCP_TYPE.request, {}, [
      [DHCP_OPTION.requestedAddress, long(address)],
      ...(offer ? [[DHCP_OPTION.serverId, long(offer.server)] as const] : []),
      ...this.introduction,
    ]);
  }

  /** Asks for more time: the server until T2, everybody until the lease ends. */
  private extend(now: number): void {
    const lease = this.lease!;
    if (now >= lease.endMs) {
      this.drop();
      return this.restart(now);
    }
    if (this.state === "renewing" && now >= lease.t2Ms) this.enter("rebinding", now);
    const rebinding = this.state === "rebinding", limit = rebinding ? lease.endMs : lease.t2Ms;
    this.dueMs = Math.min(now + Math.max((limit - now) / 2, MIN_RENEW_MS), limit);
    const dst = rebinding ? EVERYBODY : lease.server;
    this.push(dst, lease.address, now, DHCP_TYPE.request, { ciaddr: lease.address }, this.introduction);
  }

  private ask(now: number): void {
    this.retryLater(now);
    this.push(EVERYBODY, this.ownAddress, now, DHCP_TYPE.inform, { ciaddr: this.ownAddress }, this.introduction);
  }

  private retryLater(now: number): void {
    const wait = Math.min(FIRST_RETRY_MS * 2 ** this.tries++, LAST_RETRY_MS);
    this.dueMs = now + wait + (this.options.random() >>> 0) / 2 ** 32 * 2 * JITTER_MS - JITTER_MS;
  }

  /** Who asks, and for what. */
  private get introduction(): DhcpFields["options"] {
    const { hostname, vendorClass } = this.options, list: [number, Uint8Array][] = [];
    list.push([DHCP_OPTION.maxMessageSize, Uint8Array.of(MAX_MESSAGE_BYTES >> 8, MAX_MESSAGE_BYTES & 255)]);
    if (hostname) list.push([DHCP_OPTION.hostname, ascii(hostname)]);
    if (vendorClass) list.push([DHCP_OPTION.vendorClass, ascii(vendorClass)]);
    list.push([DHCP_OPTION.parameterList, WANTED]);
    return list;
  }

  private push(
    dst: number,
    src: number,
    now: number,
    type: number,
    fields: { ciaddr?: number },
    options: DhcpFields["options"],
  ): void {
    const { mac, clientId = Uint8Array.of(1, ...mac), broadcast = true } = this.options;
    this.sentMs = now;
    const bytes = encodeDhcp({
      ...fields,
      xid: this.xid,
      secs: Math.min(Math.max(Math.floor((now - this.beganMs) / 1000), 0), 0xffff),
      broadcast: broadcast && src === 0,
      mac,
      type,
      options: [[DHCP_OPTION.clientId, clientId.subarray(0, 255)], ...options],
    });
    this.outgoing.push({ bytes, src, dst });
  }
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text.slice(0, 255), (char) => char.charCodeAt(0) & 0x7f);
}
