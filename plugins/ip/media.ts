/**
 * Media: what an interface can be bound to, and how its frames come and go.
 *
 * Layer: plugins/ip, over core/link.ts and the table of queues.
 *
 * | `bind ...` | frames |
 * |---|---|
 * | `ether /net/ether0` | the queue `ether0/0` of the table, claimed: a frame is a function call. Where there is no table (an isolate), by ether's files |
 * | `frames NAME [mac [mtu]]` | Ethernet frames by the interface's `data`, as records of ether's batch mode |
 * | `pkt NAME [mtu]` | IP packets by the interface's `data`, one a read or write |
 *
 * What holds always: a medium that was closed touches neither its device nor the stack any more.
 */

import type { Kernel } from "../../core/kernel.ts";
import type { Req } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import type { Link, Port } from "../../core/link.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import type { Claim } from "../../core/queues.ts";
import type { Readiness } from "../../net/tcp/conn.ts";
import { IDLE } from "./conv.ts";
import { formatMac } from "../../net/addr.ts";
import { askEther, awaitEther, EtherFiles } from "./ether_files.ts";
import { FileLink, type FileLinkOptions } from "./file_link.ts";
import type { Net } from "./net.ts";

/** A device of an interface. */
export interface Medium {
  /** What was bound: `ether /net/ether0`. */
  readonly device: string;
  readonly link: Link;
  readonly ready: Readiness;
  /** Bytes that wait to be read. */
  readonly length: number;
  read?(dst: Uint8Array, req: Req): number | MaybePromise<Uint8Array>;
  write?(data: Uint8Array): number;
  close(): void;
}

const USAGE = "usage: bind ether /net/NAME | frames NAME [mac [mtu]] | pkt NAME [mtu]";

/** Opens media for one stack. */
export class Media {
  /** `kernel`: undefined where the plugin is not in the kernel's isolate. */
  constructor(readonly net: Net, readonly owner: string, readonly kernel: Kernel | undefined) {}

  /** Opens what `bind` names. `onGone`: the device was taken away. */
  open(device: string, onGone: () => void): Medium {
    const [kind, name, ...rest] = device.trim().split(/\s+/);
    if (name === undefined || !/^[\w./-]{1,64}$/.test(name)) throw new Err("EINVAL", USAGE);
    if (kind === "ether" && this.kernel !== undefined && rest.length <= 2) {
      return this.#claim(pathOf(name), onGone);
    }
    if (kind === "ether" && this.net.around.files !== undefined) return this.#byFiles(name, rest, onGone);
    if (kind === "ether" || kind === "frames") return this.#files(name, "ether", rest);
    if (kind === "pkt") return this.#files(name, "ip", [undefined, ...rest]);
    throw new Err("EINVAL", USAGE);
  }

  /**
   * What `open` is to be told for a device: of an Ethernet interface that is reached by its files also its address and MTU.
   * With a signal it waits until there is one.
   */
  async known(device: string, signal?: AbortSignal): Promise<string> {
    const [kind, name, mac] = device.trim().split(/\s+/), { around } = this.net, { files } = around;
    if (kind !== "ether" || name === undefined || mac !== undefined || !files || this.kernel) return device;
    const path = pathOf(name), from = { ...around, files };
    const there = await (signal ? awaitEther(path, from, signal) : askEther(path, from));
    return `ether ${path} ${there.mac} ${there.mtu}`;
  }

  /** Calls `told` when an Ethernet interface that was taken away can be opened again, unless it is given up before. */
  whenBack(name: string, signal: AbortSignal, told: () => void): void {
    if (signal.aborted) return;
    // One that is reached by its files is waited for when it is asked what it is.
    if (this.kernel === undefined) return queueMicrotask(told);
    const again = () => {
      signal.removeEventListener("abort", stop);
      queueMicrotask(told); // all of its queues are there by then
    };
    const stop = this.kernel.queues.whenRegistered(`${nameOf(pathOf(name))}/0`, again);
    signal.addEventListener("abort", stop);
  }

  /** An Ethernet interface by its files. */
  #byFiles(name: string, [mac, mtu, ...rest]: (string | undefined)[], onGone: () => void): Medium {
    if (mac === undefined || mtu === undefined || rest.length > 0) throw new Err("EINVAL", USAGE);
    const { around } = this.net, path = pathOf(name);
    const link = new FileLink(
      { name: nameOf(path), medium: "ether", mac, mtu, random: around.random },
      this.net,
    );
    const ether = new EtherFiles(path, link, { ...around, files: around.files! }, onGone);
    const close = () => {
      link.close();
      ether.close();
    };
    return { device: etherText(path, link), link, ready: IDLE, length: 0, close };
  }

  /** Makes all queues of an Ethernet interface this stack's. */
  #claim(path: string, onGone: () => void): Medium {
    const { queues } = this.kernel!, name = nameOf(path), claims: Claim[] = [];
    const close = () => {
      for (const claim of claims) {
        if (!claim.valid) continue;
        (claim.handle as Port).attach(null);
        claim.release();
      }
    };
    const onRevoke = () => {
      for (const port of ports) port.attach(null);
      onGone();
    };
    try {
      const names = queues.rows().map((row) => row.name).filter((row) => row.startsWith(`${name}/`));
      if (names.length === 0) {
        throw new Err("ENODEV", `there is no Ethernet interface ${name} (try: load ether as ${name})`);
      }
      for (const each of names) claims.push(queues.claim(each, { owner: this.owner, onRevoke }));
    } catch (thrown) {
      close();
      throw thrown;
    }
    const ports = claims.map((claim) => claim.handle as Port), [link] = ports;
    for (const port of ports) this.attach(port, link);
    return { device: etherText(path, link), link, ready: IDLE, length: 0, close };
  }

  /** Gives the stack what arrives at `port`, as if it came by `link`. */
  attach(port: Port, link: Link = port): void {
    const { net } = this, { runner } = net;
    port.attach({
      begin: () => runner.begin(),
      frame: (bytes, at, end, info) => net.stack.input(link, bytes, at, end, info, runner.now),
      end: () => runner.end(),
    });
  }

  #files(path: string, medium: "ether" | "ip", [mac, mtu, ...rest]: (string | undefined)[]): Medium {
    if (rest.length > 0) throw new Err("EINVAL", USAGE);
    const options: FileLinkOptions = {
      name: nameOf(path),
      medium,
      mac,
      mtu,
      random: this.net.around.random,
    };
    const link = new FileLink(options, this.net);
    const address = medium === "ether" ? ` ${formatMac(link.mac, "")}` : "";
    return {
      // With the address that was chosen: who goes on from a saved state has the same one.
      device: `${medium === "ether" ? "frames" : "pkt"} ${path}${address} ${link.mtu}`,
      link,
      get ready() {
        return { ...IDLE, readable: link.length > 0, writable: true };
      },
      get length() {
        return link.length;
      },
      read: (dst, req) => link.read(dst, req),
      write: (data) => link.write(data),
      close: () => link.close(),
    };
  }
}

/** What goes on with an interface, wherever that is: by its files it has to have the address that it had. */
function etherText(path: string, { mac, mtu }: Link): string {
  return `ether ${path} ${formatMac(mac, "")} ${mtu}`;
}

/** What the interface at a path is called. */
function nameOf(path: string): string {
  return path.split("/").at(-1)!;
}

/** Where an Ethernet interface is: `ether0` is `/net/ether0`. */
function pathOf(name: string): string {
  return name.startsWith("/") ? name : `/net/${name}`;
}
