/**
 * What an instance of ether stands on: the device that its options name.
 *
 * Layer: plugins/ether, over devices/.
 */

import type { Clock } from "../../core/clock.ts";
import { Err, excerpt } from "../../core/err.ts";
import type { Port } from "../../core/link.ts";
import { Loopback, namedSwitch } from "../../devices/fabric.ts";
import { parseMac } from "../../devices/mac.ts";
import { openPacket } from "../../devices/packet.ts";
import { openTap } from "../../devices/tap.ts";

/** The options of plugin.json. */
export interface EtherOptions {
  /** `tap NAME`, `packet NAME`, `switch NAME`, `loopback`. */
  device: string;
  mac?: string;
  mtu?: number;
  offload: boolean;
  gro: boolean;
  queues: number;
  spinUs: number;
  txqueuelen: number;
  hostAddress?: string;
  impair: string;
  /** Without the device there is no interface, and that is no error. */
  optional: boolean;
}

/** Where devices come from: the clock, and what switches of one name belong to. */
export interface Surroundings {
  clock: Clock;
  /** Switches of one name in one scope are one switch. */
  scope: object;
  /** What the interface is called. */
  name: string;
  log(text: string): void;
}

/** Opens the device, a Port for each of its queues. */
export function openDevice(options: EtherOptions, around: Surroundings): Port[] {
  const [kind = "", name = "", ...rest] = options.device.trim().split(/\s+/);
  const open = Object.hasOwn(DEVICES, kind) ? DEVICES[kind] : undefined;
  if (!open || rest.length > 0 || (name === "") !== (kind === "loopback")) {
    throw new Err(
      "EINVAL",
      `no device is called "${excerpt(options.device)}" (try: tap NAME, packet NAME, switch NAME, loopback)`,
    );
  }
  const mac = options.mac === undefined ? undefined : parseMac(options.mac);
  if (options.queues > 1 && kind !== "tap") throw new Err("EINVAL", `${kind} has one queue, not ${options.queues}`);
  return open({ ...options, name, macBytes: mac, as: around.name }, around);
}

type Opening = EtherOptions & { name: string; as: string; macBytes: Uint8Array | undefined };

const DEVICES: Record<string, (options: Opening, around: Surroundings) => Port[]> = {
  tap: ({ name, as, macBytes: mac, mtu, offload, gro, queues, spinUs, txqueuelen, hostAddress: address }, around) => {
    const queue = { name, as, offload, gro, spinUs, onFault: faultLog(`tap ${name}`, around), multiQueue: queues > 1 };
    const first = openTap({ ...queue, mac, mtu, txqueuelen, address, up: true });
    if (first.gro.startsWith("off:")) {
      around.log(`tap ${name}: gro ${first.gro}; frames are slower to send (try: offload)`);
    }
    const others = Array.from({ length: queues - 1 }, () => openTap({ ...queue, mac: first.mac }));
    return [first, ...others];
  },
  packet: ({ name, as, macBytes: mac, spinUs, offload }, around) => {
    const onFault = faultLog(`packet ${name}`, around);
    return [openPacket({ name, as, mac, spinUs, offload, onFault })];
  },
  switch: ({ name, as, macBytes: mac, mtu, offload }, { clock, scope }) => [
    namedSwitch(scope, name, clock, { mtu, offload }).port({ name: as, mac }),
  ],
  loopback: ({ as, mtu }) => [new Loopback(as, mtu === undefined ? {} : { mtu }).port],
};

/** Tells the log what failed, and when it was the last time. */
function faultLog(what: string, { log }: Surroundings): (why: Error, isOver: boolean) => void {
  return (why, isOver) => log(`${what}: ${why.message}${isOver ? "; given up (try: reload)" : ""}`);
}
