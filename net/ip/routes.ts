/**
 * Routes: which interface, and which gateway, leads to an address. The longest prefix wins.
 *
 * Layer: net/ip. One bit-by-bit tree for each version, so that IPv6's default route never takes IPv4's packets. Of several
 * routes to one prefix that with the lowest metric is taken, among those whose gateway answers. What the tree finds is
 * cached by destination above (hops.ts): `version` says when the caches are old.
 *
 * See RFC 1812, 5.2.4 (forwarding), RFC 4191 (router preference), ip(3) of Plan 9 (iproute).
 */

import { formatIp, type Ip, isIpv4, type Prefix, sameIp, V4_BITS } from "../addr.ts";
import { LIMITS } from "./limits.ts";

/** One line of iproute. Plain data. */
export interface Route {
  prefix: Prefix;
  /** Undefined: what the prefix holds is on the link. */
  gateway: Ip | undefined;
  /** The interface's number. */
  iface: number;
  /** At most four letters: who made it. */
  tag: string;
  /** Lower is better. */
  metric: number;
  /** Monotonic milliseconds; Infinity: it stays. */
  expiresAt: number;
}

/** Routes that are removed one by one before the branches that they leave are. */
const PRUNE_AFTER = 256;

interface TreeNode {
  routes: Route[];
  zero: TreeNode | undefined;
  one: TreeNode | undefined;
}

const emptyNode = (): TreeNode => ({ routes: [], zero: undefined, one: undefined });

export class Routes {
  #v4 = emptyNode();
  #v6 = emptyNode();
  #count = 0;
  #nextExpiry = Infinity;
  #unpruned = 0;
  /** How many routes go by a gateway. */
  readonly #gateways = new Map<string, number>();
  /** Grows with every change. */
  version = 0;

  get count(): number {
    return this.#count;
  }

  /** Adds a route, or replaces that to the same prefix by the same gateway and interface; false when the table is full. */
  add(route: Route): boolean {
    const node = this.#node(route.prefix, true)!;
    const i = node.routes.findIndex((other) => sameWay(other, route.gateway, route.iface));
    if (i >= 0) node.routes.splice(i, 1);
    else if (this.#count >= LIMITS.routes) return false;
    else this.#tally(route, 1);
    const before = node.routes.findIndex((other) => other.metric > route.metric);
    node.routes.splice(before < 0 ? node.routes.length : before, 0, route);
    this.#nextExpiry = Math.min(this.#nextExpiry, route.expiresAt);
    this.version++;
    return true;
  }

  /** Whether a route goes by the host. */
  isGateway(ip: Ip, iface: number): boolean {
    return this.#gateways.has(gatewayKey(ip, iface));
  }

  /** Removes the routes to a prefix, only those by `gateway` or `iface` when given; answers how many there were. */
  remove(prefix: Prefix, gateway?: Ip, iface?: number): number {
    const node = this.#node(prefix, false);
    if (node === undefined) return 0;
    const isGone = (route: Route) =>
      (gateway === undefined || route.gateway !== undefined && sameIp(route.gateway, gateway)) &&
      (iface === undefined || route.iface === iface);
    const removed = this.#keep(node, (route) => !isGone(route));
    this.#unpruned += removed;
    if (this.#unpruned >= PRUNE_AFTER) this.#prune();
    return removed;
  }

  /** Removes the routes that `isGone` names. */
  removeIf(isGone: (route: Route) => boolean): number {
    let removed = 0;
    for (const node of this.#nodes()) removed += this.#keep(node, (route) => !isGone(route));
    if (removed > 0) this.#prune();
    return removed;
  }

  /** The best route to the address, among those that are `usable`; when none is, the best of those that are not. */
  lookup(ip: Ip, usable?: (route: Route) => boolean): Route | undefined {
    let node: TreeNode | undefined = isIpv4(ip) ? this.#v4 : this.#v6;
    let best: Route | undefined, fallback: Route | undefined;
    for (let bit = isIpv4(ip) ? V4_BITS : 0; node !== undefined; bit++) {
      if (node.routes.length > 0) {
        const found = usable === undefined ? node.routes[0] : node.routes.find(usable);
        if (found !== undefined) best = found;
        else fallback = node.routes[0];
      }
      if (bit === 128) break;
      node = ip[bit >> 3] >> (7 - (bit & 7)) & 1 ? node.one : node.zero;
    }
    return best ?? fallback;
  }

  /** Drops what has expired; answers when the next one does. */
  expire(now: number): number {
    if (now >= this.#nextExpiry) {
      this.removeIf((route) => route.expiresAt <= now);
      this.#nextExpiry = this.list().reduce((at, route) => Math.min(at, route.expiresAt), Infinity);
    }
    return this.#nextExpiry;
  }

  /** All routes, IPv4 first, by prefix. */
  list(): Route[] {
    return [...this.#nodes()].flatMap((node) => node.routes);
  }

  restore(routes: Route[]): void {
    this.#v4 = emptyNode();
    this.#v6 = emptyNode();
    this.#count = 0;
    this.#gateways.clear();
    for (const route of routes) this.add(route);
  }

  #keep(node: TreeNode, isKept: (route: Route) => boolean): number {
    const kept = node.routes.filter(isKept), removed = node.routes.length - kept.length;
    if (removed === 0) return 0;
    for (const route of node.routes) if (!isKept(route)) this.#tally(route, -1);
    node.routes = kept;
    this.version++;
    return removed;
  }

  #tally({ gateway, iface }: Route, by: number): void {
    this.#count += by;
    if (gateway === undefined) return;
    const key = gatewayKey(gateway, iface), count = (this.#gateways.get(key) ?? 0) + by;
    if (count > 0) this.#gateways.set(key, count);
    else this.#gateways.delete(key);
  }

  /** Builds the trees anew, without branches that hold nothing: else what comes and goes would leave them behind. */
  #prune(): void {
    this.#unpruned = 0;
    const prune = (node: TreeNode | undefined): TreeNode | undefined => {
      if (node === undefined) return undefined;
      node.zero = prune(node.zero);
      node.one = prune(node.one);
      return node.routes.length + (node.zero ? 1 : 0) + (node.one ? 1 : 0) > 0 ? node : undefined;
    };
    this.#v4 = prune(this.#v4) ?? emptyNode();
    this.#v6 = prune(this.#v6) ?? emptyNode();
  }

  #node({ addr, bits }: Prefix, make: boolean): TreeNode | undefined {
    const v4 = isIpv4(addr) && bits >= V4_BITS;
    let node = v4 ? this.#v4 : this.#v6;
    for (let bit = v4 ? V4_BITS : 0; bit < bits; bit++) {
      const side = addr[bit >> 3] >> (7 - (bit & 7)) & 1 ? "one" : "zero";
      const next: TreeNode | undefined = node[side] ?? (make ? emptyNode() : undefined);
      if (next === undefined) return undefined;
      node[side] = next;
      node = next;
    }
    return node;
  }

  *#nodes(): Generator<TreeNode> {
    const stack = [this.#v6, this.#v4];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (node.routes.length > 0) yield node;
      if (node.one !== undefined) stack.push(node.one);
      if (node.zero !== undefined) stack.push(node.zero);
    }
  }
}

function gatewayKey(ip: Ip, iface: number): string {
  return `${iface} ${formatIp(ip)}`;
}

function sameWay(route: Route, gateway: Ip | undefined, iface: number): boolean {
  if (route.iface !== iface || (route.gateway === undefined) !== (gateway === undefined)) return false;
  return gateway === undefined || sameIp(route.gateway!, gateway);
}
