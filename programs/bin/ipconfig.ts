/**
 * ipconfig: gives interfaces addresses, and shows what they have. The manual page is man/ipconfig.md.
 *
 * Layer: programs, over /net/ipifc and /net/iproute. Leases are the stack's: it asks for them and renews them itself.
 */

import { readTextOf } from "ring9/net";
import { Err, ORDWR, OWRITE } from "ring9/proc";
import { defineTool, type Running } from "../lib/tool.ts";

const WAIT_MS = 15_000, LOOK_MS = 50;
const V4_BITS = 96;

/** An interface, as its status tells. */
interface Interface {
  number: string;
  device: string;
  mtu: string;
  counters: string;
  /** A line each: address, mask and so on; `dhcp STATE`. */
  lines: string[];
}

export default defineTool({
  usage: "ipconfig [-x netdir] [-g gateway] [-m mtu] [-w ms] [ether device [verb] [address [mask]]]",
  flags: "x:g:m:w:",
  words: [0, 5],
  async run(tool) {
    const [medium, device, ...words] = tool.words;
    if (medium === undefined) return await new Config(tool).show();
    if (device === undefined) tool.misused();
    const isVerb = Object.hasOwn(VERBS, words[0] ?? ""), verb = isVerb ? words.shift()! : "add";
    const config = new Config(tool), number = await config.interfaceOf(medium, device, verb !== "unbind");
    const mtu = tool.flags.text("m");
    if (mtu !== undefined) await config.command(number, `mtu ${mtu}`);
    await VERBS[verb](config, number, words);
    const gateway = tool.flags.text("g");
    if (gateway !== undefined) {
      await tool.files.open(`${config.netdir}/iproute`, OWRITE).then(writing(`add 0 0 ${gateway}`));
    }
  },
});

/** What is done with an interface. */
type Verb = (config: Config, number: string, words: string[]) => Promise<unknown>;

const VERBS: Record<string, Verb> = {
  add: (config, number, words) => config.command(number, `add ${addressOf(words, config.tool)}`),
  try: (config, number, words) => config.try(number, words),
  remove: (config, number, words) => config.command(number, `remove ${addressOf(words, config.tool)}`),
  dhcp: (config, number, words) => none(words, config) ?? config.dhcp(number),
  release: (config, number, words) => none(words, config) ?? config.command(number, "dhcp release"),
  ra6: (config, number, words) => none(words, config) ?? config.ra6(number),
  unbind: (config, number, words) => none(words, config) ?? config.command(number, "unbind"),
};

/** There are to be no more words. */
function none(words: string[], { tool }: Config): undefined {
  if (words.length > 0) tool.misused();
}

/** `10.0.0.2/24`, or `10.0.0.2 /24`, or `10.0.0.2 255.255.255.0`. */
function addressOf([address, mask, ...rest]: string[], tool: Running): string {
  if (address === undefined || rest.length > 0) tool.misused();
  const [host, bits] = address.split("/");
  return [host, bits === undefined ? mask : `/${bits}`].filter((word) => word !== undefined).join(" ");
}

function writing(text: string) {
  return async (file: { write(data: Uint8Array, offset: number): Promise<number>; close(): Promise<void> }) => {
    try {
      await file.write(new TextEncoder().encode(text), 0);
    } finally {
      await file.close();
    }
  };
}

/** The interfaces of one /net. */
class Config {
  readonly netdir: string;

  constructor(readonly tool: Running) {
    this.netdir = tool.flags.text("x", "/net");
  }

  /** The number of the interface that a device is bound to; the device is bound to a new one if there is none. */
  async interfaceOf(medium: string, device: string, makes: boolean): Promise<string> {
    const path = device.includes("/") ? device : `${this.netdir}/${device}`,
      name = path.slice(path.lastIndexOf("/") + 1);
    const known = (await this.interfaces()).find((each) => each.device === name);
    if (known) return known.number;
    if (!makes) throw new Err("ENODEV", `${device} is not bound to an interface`);
    const ctl = await this.tool.files.open(`${this.netdir}/ipifc/clone`, ORDWR), room = new Uint8Array(16);
    try {
      const count = await ctl.read(room, 0);
      await ctl.write(new TextEncoder().encode(`bind ${medium} ${path}`), 0);
      return new TextDecoder().decode(room.subarray(0, count)).trim();
    } finally {
      await ctl.close();
    }
  }

  async interfaces(): Promise<Interface[]> {
    const found: Interface[] = [];
    for (const { name } of await this.tool.async.readdir(`${this.netdir}/ipifc`)) {
      if (/^\d+$/.test(name)) found.push(await this.interface(name));
    }
    return found.filter(({ device }) => device !== "");
  }

  async interface(number: string): Promise<Interface> {
    const [line, ...lines] = (await readTextOf(this.tool.files, `${this.netdir}/ipifc/${number}/status`)).split("\n");
    const words = line.split(/\s+/), of = (name: string) => words.includes(name) ? words[words.indexOf(name) + 1] : "";
    const counters = ["pktin", "pktout", "errin", "errout"].map((name) => `${name} ${of(name)}`).join(" ");
    return {
      number,
      device: of("device").replace(/\/\d+$/, ""),
      mtu: of("maxtu"),
      counters,
      lines: lines.map((each) => each.trim()),
    };
  }

  async command(number: string, text: string): Promise<void> {
    await this.tool.files.open(`${this.netdir}/ipifc/${number}/ctl`, OWRITE).then(writing(text));
  }

  /** An address that is only taken if nobody else has it. */
  async try(number: string, words: string[]): Promise<void> {
    const text = addressOf(words, this.tool), [address] = text.split(" ");
    await this.command(number, `try ${text}`);
    const lineOf = ({ lines }: Interface) => lines.find((line) => line.split(/\s+/)[0] === address) ?? "duplicated";
    await this.until(number, `nobody knows whether ${address} is free`, (ifc) => !lineOf(ifc).includes("tentative"));
    if (!lineOf(await this.interface(number)).includes("duplicated")) return;
    await this.command(number, `remove ${text}`);
    throw new Err("EADDRINUSE", `${address} is another's`);
  }

  /** Asks for a lease, and waits until there is one. */
  async dhcp(number: string): Promise<void> {
    await this.command(number, "dhcp");
    await this.until(number, "no DHCP server answered (the stack goes on asking)", ({ lines }) => {
      return lines.some((line) => /^dhcp (bound|renewing|rebinding)/.test(line));
    });
    await this.show(number);
  }

  /** Takes what routers advertise, and waits for an address. */
  async ra6(number: string): Promise<void> {
    await this.command(number, "ra6 recvra 1");
    await this.until(number, "no router answered (the stack goes on listening)", ({ lines }) => {
      return lines.some((line) => line.includes(":") && !/^fe80|tentative/.test(line));
    });
    await this.show(number);
  }

  async until(number: string, failure: string, done: (ifc: Interface) => boolean): Promise<void> {
    const limitMs = this.tool.flags.number("w", { otherwise: WAIT_MS, least: 0, most: 3_600_000 });
    for (let waitedMs = 0; !done(await this.interface(number)); waitedMs += LOOK_MS) {
      if (waitedMs >= limitMs) throw new Err("ETIMEDOUT", failure);
      await this.tool.async.sleep(LOOK_MS);
    }
  }

  /** Prints all interfaces, or one, and the ways out. */
  async show(number?: string): Promise<void> {
    for (const ifc of number === undefined ? await this.interfaces() : [await this.interface(number)]) {
      this.tool.print(`${ifc.device} ipifc/${ifc.number} mtu ${ifc.mtu} ${ifc.counters}\n`);
      for (const line of ifc.lines) this.tool.print(`\t${shortened(line)}\n`);
    }
    for (const line of (await readTextOf(this.tool.files, `${this.netdir}/iproute`)).split("\n")) {
      const [target, mask, gateway, flags = ""] = line.trim().split(/\s+/);
      const isDefault = /^(0\.0\.0\.0|::)$/.test(target) && (mask === `/${V4_BITS}` || mask === "/0");
      if (isDefault && !flags.includes("i")) this.tool.print(`gateway ${gateway}\n`);
    }
  }
}

/** A line of an address without the words that are as they always are. */
function shortened(line: string): string {
  const [address, mask, , valid, preferred, ...state] = line.split(/\s+/);
  if (!/^\/\d+$/.test(mask ?? "")) return line;
  const bits = Number(mask.slice(1)), forever = String(0xffffffff);
  const times = valid === forever && preferred === forever ? [] : [`valid ${valid}`, `preferred ${preferred}`];
  return [`${address}/${address.includes(":") ? bits : bits - V4_BITS}`, ...times, ...state].join(" ");
}
