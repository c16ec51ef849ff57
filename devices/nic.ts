/**
 * Nic: a network interface as the system knows it: a device, whoever has claimed it, and all who look on.
 *
 * Layer: devices, a Port around a Port; plugins/ether registers it in the table of queues as `etherN/Q`, where a stack
 * claims it and calls it: a frame is a function call. It belongs to no plugin, so it outlives a reload of ether, and
 * the stack on it notices nothing.
 *
 * What holds always: one sink (the owner of the queue) and any number of observers, who see what the owner sees, in
 * both directions, and copy what they keep. Impairment happens between them and the device.
 */

import type { Clock } from "../core/clock.ts";
import type { FrameInfo, FrameSink, Port } from "../core/link.ts";
import type { QueueTable } from "../core/queues.ts";
import { formatImpairment, Impair, type Impairment, UNIMPAIRED } from "./impair.ts";

/** Which way a frame goes: `in` from the device, `out` to it. */
export type Way = "in" | "out";

/** Somebody who looks on. The bytes are borrowed until it returns; it may send nothing meanwhile. */
export type Observer = (way: Way, bytes: Uint8Array, at: number, end: number, info: FrameInfo) => void;

/** See the head of this file. */
export class Nic implements Port {
  readonly name: string;
  readonly device: Port;
  onRoom: () => void = () => {};
  readonly #clock: Clock;
  readonly #observers = new Set<Observer>();
  readonly #waiters: (() => void)[] = [];
  /** The device, or the impairment before it. */
  #below: Port;
  #impair: Impair | undefined;
  #sink: FrameSink | null = null;
  #unwanted = 0;

  constructor(name: string, device: Port, clock: Clock) {
    this.name = name;
    this.device = device;
    this.#clock = clock;
    this.#below = device;
    this.#join();
  }

  get kind(): string {
    return this.device.kind;
  }
  get medium(): "ether" | "ip" {
    return this.device.medium;
  }
  get mac(): Uint8Array {
    return this.device.mac;
  }
  get mtu(): number {
    return this.device.mtu;
  }
  get checksumOffload(): boolean {
    return this.device.checksumOffload;
  }
  get gsoMaxBytes(): number {
    return this.device.gsoMaxBytes;
  }
  get frame(): Uint8Array {
    return this.#below.frame;
  }
  get frameAt(): number {
    return this.#below.frameAt;
  }

  /** What befalls frames on their way; UNIMPAIRED when nothing does. */
  get impairment(): Impairment {
    return this.#impair?.impairment ?? UNIMPAIRED;
  }

  set impairment(what: Impairment) {
    const isNone = formatImpairment(what) === "";
    if (isNone) {
      this.#impair?.detach();
      this.#impair = undefined;
    } else {
      this.#impair ??= new Impair(this.device, this.#clock);
      this.#impair.impairment = what;
    }
    this.#below = this.#impair ?? this.device;
    this.#join();
  }

  attach(sink: FrameSink | null): void {
    this.#sink = sink;
  }

  /** Shows `observer` what passes, until the function that is answered is called. */
  observe(observer: Observer): () => void {
    this.#observers.add(observer);
    return () => void this.#observers.delete(observer);
  }

  begin(bytes: number): boolean {
    return this.#below.begin(bytes);
  }

  end(bytes: number, info: FrameInfo): void {
    if (this.#observers.size > 0) {
      const { frame, frameAt } = this.#below;
      this.#show("out", frame, frameAt, frameAt + bytes, info);
    }
    this.#below.end(bytes, info);
  }

  cancel(): void {
    this.#below.cancel();
  }

  flush(): void {
    this.#below.flush();
  }

  /** Sends a frame of somebody who is not the owner; false when there is no room: `whenRoom` tells. */
  send(bytes: Uint8Array, info: FrameInfo): boolean {
    if (!this.begin(bytes.length)) return false;
    this.frame.set(bytes, this.frameAt);
    this.end(bytes.length, info);
    this.flush();
    return true;
  }

  /** Calls `fn` once when there is room again. */
  whenRoom(fn: () => void): void {
    this.#waiters.push(fn);
  }

  counters(): Record<string, number> {
    return { ...this.#below.counters(), unwanted: this.#unwanted };
  }

  close(): void | Promise<void> {
    return this.#below.close();
  }

  #show(...seen: Parameters<Observer>): void {
    for (const observer of this.#observers) observer(...seen);
  }

  #join(): void {
    this.#below.onRoom = () => {
      this.onRoom();
      for (const waiter of this.#waiters.splice(0)) waiter();
    };
    this.#below.attach({
      begin: () => this.#sink?.begin(),
      frame: (bytes, at, end, info) => {
        if (this.#observers.size > 0) this.#show("in", bytes, at, end, info);
        if (this.#sink) this.#sink.frame(bytes, at, end, info);
        else this.#unwanted++;
      },
      end: () => this.#sink?.end(),
    });
  }
}

/** Interfaces that are there, by the table of queues that they are in, and their names. */
const held = new WeakMap<QueueTable, Map<string, Held>>();

interface Held {
  readonly what: string;
  readonly nics: Nic[];
  keeper: object;
}

/** How an interface is asked for. */
export interface NicRequest {
  name: string;
  /** What it is made of: an interface that is there is kept as it is while these words are the same. */
  what: string;
  /** Who asks: the last one to ask has it. */
  keeper: object;
  clock: Clock;
  /** Makes the devices, one a queue. */
  open(): Port[];
}

/**
 * The queues of an interface, in the table as `name/0`, `name/1`, ... An interface of an earlier keeper that is made of
 * the same is handed over as it is, with whoever has claimed it. EBUSY when it is made of something else and somebody
 * owns it.
 */
export async function holdNics(queues: QueueTable, request: NicRequest): Promise<Nic[]> {
  const { name, what, keeper, clock, open } = request;
  let names = held.get(queues);
  if (!names) held.set(queues, names = new Map());
  const known = names.get(name);
  if (known?.what === what) {
    known.keeper = keeper;
    return known.nics;
  }
  if (known) await takeDown(queues, known);
  names.delete(name);
  const nics = open().map((port, i) => new Nic(`${name}/${i}`, port, clock));
  for (const nic of nics) {
    queues.register({ name: nic.name, kind: nic.kind, handle: nic, counters: () => nic.counters() });
  }
  names.set(name, { what, nics, keeper });
  return nics;
}

/**
 * Takes an interface down, unless another keeper has it by now. Its owner is told, and has until the deadline to let
 * go.
 */
export async function dropNics(queues: QueueTable, name: string, keeper: object): Promise<void> {
  const known = held.get(queues)?.get(name);
  if (known?.keeper !== keeper) return;
  held.get(queues)!.delete(name);
  for (const nic of known.nics) await queues.revoke(nic.name, { reason: `${name} goes` });
  await takeDown(queues, known);
}

async function takeDown(queues: QueueTable, { nics }: Held): Promise<void> {
  for (const nic of nics) queues.unregister(nic.name);
  for (const nic of nics) {
    nic.attach(null);
    await nic.close();
  }
}
