/**
 * ip: the network as files, /net: TCP, UDP, ICMP, interfaces, names.
 *
 * Layer: a plugin, over net/ (a stack that is pure) and, in the kernel's isolate, the table of queues, where it claims the
 * Ethernet interfaces that it is bound to; in an isolate of its own it reaches them by their files. Without a device it can stand on the host's own sockets.
 *
 * See ip(3) of Plan 9.
 */

import { type Ctx, definePlugin, Err, type User } from "../../core/plugin/author.ts";
import type { Kernel } from "../../core/kernel.ts";
import { isPrivileged } from "../../core/users.ts";
import { formatPrefix, parsePrefix } from "../../net/addr.ts";
import { IpDev, type IpTree, MAX_STACKS } from "./dev.ts";
import { type InterfaceOptions, interfacesOf, type IpOptions, ndbOfOptions } from "./options.ts";
import { ServedStack } from "./served.ts";

export default definePlugin({
  async start(ctx: Ctx) {
    const options = ctx.options as unknown as IpOptions, kernel = ctx.kernel as Kernel | undefined;
    ctx.defer(() => void kernel?.reports.delete(`notice.${ctx.name}`));
    const interfaces = interfacesOf(options), { name, clock, hostowner } = ctx, log = (text: string) => ctx.log(text);
    const tree = isHosted(ctx, options, interfaces, kernel)
      ? await hostTree(ctx, options)
      : ownStacks(ctx, options, interfaces, kernel);
    return new IpDev({ name, clock, hostowner, log, tree });
  },
});

/** Whether the host's sockets are to be used. */
function isHosted(
  ctx: Ctx,
  { medium }: IpOptions,
  interfaces: InterfaceOptions[],
  kernel: Kernel | undefined,
): boolean {
  if (medium !== "auto" || ctx.files !== undefined) return medium === "hostsock";
  const there = kernel?.queues.rows().map((row) => row.name.split("/")[0]) ?? [];
  const missing = interfaces.filter(({ device }) => !there.includes(device!.split("/").at(-1)!));
  if (interfaces.length > 0 && missing.length === 0) return false;
  const what = missing.length > 0
    ? `there is no ${missing.map(({ device }) => device).join(", ")}`
    : "no device is named";
  const notice = `${what}: TCP and UDP go by the host's own sockets (a stack of our own needs root for its TAP)`;
  ctx.log(notice);
  kernel?.reports.set(`notice.${ctx.name}`, () => `${notice}\n`);
  return true;
}

/** The host's sockets are a module that only the kernel's isolate and processes can load. */
async function hostTree(ctx: Ctx, options: IpOptions): Promise<(number: number) => IpTree> {
  const { HostTree } = await import("./host_tree.ts");
  const tree = new HostTree(ctx, options);
  return (number) => {
    if (number !== 0) throw new Err("ENODEV", `${ctx.name} has no stack of its own, so there is no number ${number}`);
    return tree;
  };
}

/** Stacks by number: the first as options say, others when the hostowner asks for them. */
function ownStacks(
  ctx: Ctx,
  options: IpOptions,
  interfaces: InterfaceOptions[],
  kernel: Kernel | undefined,
): (number: number, user: User) => IpTree {
  const served = new Map<number, ServedStack>();
  const { clock, turn, hostowner } = ctx, log = (text: string) => ctx.log(text);
  const around = { clock, turn, hostowner, log, random: (bytes: Uint8Array) => ctx.random(bytes), files: ctx.files };
  const make = (number: number): ServedStack => {
    const owner = number === 0 ? ctx.name : `${ctx.name}.${number}`;
    const netdir = number === 0 ? options.netdir : `${options.netdir}.${number}`;
    const hostname = options.hostname || ctx.sysname,
      addresses = interfaces.flatMap(({ address = "" }) => address.split(/\s+/));
    const ndb = ndbOfOptions({ ...options, hostname }, number === 0 ? addresses.filter((text) => text !== "") : []);
    const { cc: congestion, ecn } = options;
    const stack = new ServedStack(around, { number, owner, netdir, hostname, ndb, kernel, congestion, ecn });
    served.set(number, stack);
    ctx.defer(() => stack.stop());
    return stack;
  };
  const first = make(0);
  first.forwarding = options.forward;
  for (const each of interfaces) first.configure(each);
  kernel?.reports.set(`notice.${ctx.name}`, () => noticeOf(interfaces));
  return (number, user) => {
    const there = served.get(number);
    if (there !== undefined) return there;
    if (number >= MAX_STACKS || !isPrivileged(user, hostowner)) {
      throw new Err("ENODEV", `${ctx.name} has no stack ${number}`);
    }
    return make(number);
  };
}

/** How this node is reached, and what lets it out: for whoever boots it. */
function noticeOf(interfaces: InterfaceOptions[]): string {
  return interfaces.map(({ device, address = "", gateway, dhcp }) => {
    const [first] = address.split(/\s+/), network = parsePrefix(first);
    if (first === "" || network === undefined) {
      return dhcp ? `${device} asks for an address by DHCP (see /net/ipifc/1/status)\n` : `${device} has no address\n`;
    }
    const out = gateway === undefined || first.includes(":")
      ? ""
      : `to let it out: sysctl -w net.ipv4.ip_forward=1; iptables -t nat -A POSTROUTING -s ${
        formatPrefix(network)
      } -j MASQUERADE\n`;
    return `${device} has ${address}; from the host: ping ${first.split("/")[0]}\n${out}`;
  }).join("");
}
