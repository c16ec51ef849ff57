/**
 * Pump: brings what a descriptor has to whoever takes it, and sleeps when it has nothing.
 *
 * Layer: devices; a TAP queue and a packet ring each have one. It drains at most BATCH frames, then lets those run who
 * wait for a promise (HOPS turns of theirs: an answer is sent before it looks again), and the event loop once in TURN_MS
 * (a turn costs as much as three frames). The runtime looks at the host's sockets once in 61 turns, unless it has nothing else to
 * do; so that 9P does not wait for long beside busy frames, as many are made at once, each SOCKETS_MS. Where frames come one
 * by one, as questions do, it does not look for a second one behind each. Empty, it looks for `spinUs`, giving the CPU up
 * between two looks, so that a peer on the same CPU runs; what others take of it is not counted. Then it parks in poll(2)
 * on a helper thread of the host. The spin adapts as a hypervisor's halt polling does: it begins when frames came shortly
 * after a park, and is cut when it was in vain, so an idle device costs nothing.
 *
 * Measured, per wake-up, on two CPUs of a virtual machine: spin 4 us, park 40-80 us (a sleeping CPU has to be woken);
 * on one CPU 9 us for both. A signal (SIGIO) or another isolate that polls and notifies are slower than the park.
 */

import { setTimeout } from "node:timers";
import { Err, errFromErrno, toErr } from "../core/err.ts";
import { poll, turn } from "../core/host/turn.ts";
import { must, netCalls, O_CLOEXEC, O_NONBLOCK } from "./net_calls.ts";

/** Frames between two turns of the event loop. */
const BATCH = 256;
/** Looks while it spins: what one takes, and how many there are between two looks at the clock. */
const LOOK_US = 1.25, LOOKS = 8;
/** How long it goes on without a turn of the event loop, and without one that looks at the host's sockets, which costs 64 of them. */
const TURN_MS = 0.2, SOCKETS_MS = 4;
/**
 * Turns of promises for those who were given frames: one that awaits a read and writes an answer takes six, one that is called some more.
 * Where a few frames came, who was given them has had his turn once something is sent.
 */
const HOPS = 16, LEAST = 3, FEW = 4;
/** Frames between two looks at the clock. */
const OFTEN = 16;
/** Frames that came alone after which it looks whether they still do. */
const LONE = 16;
const POLLIN = 1, POLLFD_BYTES = 8, REVENTS = 6;
const SOL_SOCKET = 1, SO_ERROR = 4;
/** So many failures in a row, and it rests before it goes on: what fails each time shall not fill the log. */
const MAX_FAULTS = 16, REST_MS = 1000;

/** What a pump is made with. */
export interface PumpOptions {
  /** Readable when there is something to drain. */
  fd: number;
  /** Delivers at most `limit` frames; answers how many there were. ENODEV when the device has gone. */
  drain(limit: number): number;
  /** How many frames were sent so far. */
  sent(): number;
  /** Microseconds that it looks before it parks; 0 parks at once. */
  spinUs: number;
  /**
   * Told what was thrown by the device or by who takes the frames; `isOver` when the device has gone, and the pump
   * ends.
   */
  onFault(why: Error, isOver: boolean): void;
}

/** See the head of this file. */
export class Pump {
  /** Times it slept, and looks that found nothing. */
  parks = 0;
  idleLooks = 0;
  /** As in PumpOptions; may be changed at any time. */
  spinUs: number;
  /** What of `spinUs` is in use. */
  #windowUs = 0;
  #turnedMs = 0;
  #polledMs = 0;
  /** Frames that came alone, one after the other. */
  #lone = 0;
  /** What was sent before the last few frames came; -1 when there were more. */
  #sentBefore = -1;
  /** Frames since the clock was looked at. */
  #frames = 0;
  readonly #options: PumpOptions;
  readonly #stopFd: number;
  #stopped = false;
  #done: Promise<void> | undefined;

  constructor(options: PumpOptions) {
    this.#options = options;
    this.spinUs = options.spinUs;
    this.#stopFd = must(netCalls().eventfd(0, O_CLOEXEC | O_NONBLOCK), "eventfd");
  }

  /** Begins; does nothing when it runs. */
  start(): void {
    this.#done ??= this.#run();
  }

  /** Ends, and resolves when nothing touches the descriptor any more. */
  async stop(): Promise<void> {
    if (!this.#stopped) {
      this.#stopped = true;
      netCalls().writeBuffer(this.#stopFd, new BigUint64Array([1n]), 8n);
      this.#done = (this.#done ?? Promise.resolve()).finally(() => netCalls().close(this.#stopFd));
    }
    await this.#done;
  }

  async #run(): Promise<void> {
    for (let looks = 0, faults = 0; !this.#stopped;) {
      try {
        if (this.#drain()) {
          looks = 0;
          await this.#settle();
        } else if (looks++ < this.#windowUs / LOOK_US) {
          this.idleLooks++;
          await this.#giveWay(looks);
        } else {
          looks = 0;
          await this.#park();
        }
        faults = 0;
      } catch (thrown) {
        const why = toErr(thrown), isGone = why.code === "ENODEV";
        this.#options.onFault(why, isGone);
        if (isGone) return;
        if (++faults % MAX_FAULTS === 0) await rest();
      }
    }
  }

  /** Delivers what there is; whether there was something. */
  #drain(): boolean {
    const isLone = this.#lone % LONE > 0, before = this.#options.sent();
    const count = this.#options.drain(isLone ? 1 : BATCH);
    if (count === 0) return false;
    this.#frames += count;
    this.#lone = count === 1 ? this.#lone + 1 : 0;
    this.#sentBefore = count <= FEW ? before : -1;
    return true;
  }

  /** Lets others run: promises that are kept now; timers and messages when it is their time. */
  async #settle(): Promise<void> {
    const { sent } = this.#options, before = this.#sentBefore;
    for (let hop = 0; hop < HOPS && (hop < LEAST || before < 0 || sent() === before); hop++) await null;
    if (this.#frames < OFTEN) return;
    this.#frames = 0;
    if (this.#turnDue) await this.#turn();
  }

  /** Gives the CPU up between two looks, so that a peer on the same one runs. */
  #giveWay(looks: number): Promise<void> | null {
    netCalls().sched_yield();
    return looks % LOOKS === 0 && this.#turnDue ? this.#turn() : null;
  }

  get #turnDue(): boolean {
    return performance.now() - this.#turnedMs >= TURN_MS;
  }

  async #turn(): Promise<void> {
    const isLong = performance.now() - this.#polledMs >= SOCKETS_MS;
    await (isLong ? poll() : turn());
    this.#turnedMs = performance.now();
    if (isLong) this.#polledMs = this.#turnedMs;
  }

  /** A socket has an error to tell, once (its interface is down: it may come back); anything else has gone. */
  #failed(): void {
    const error = new Int32Array(1), size = new Uint32Array([error.byteLength]);
    if (netCalls().getsockopt(this.#options.fd, SOL_SOCKET, SO_ERROR, error, size) === 0) throw errFromErrno(error[0]);
    throw new Err("ENODEV", "the interface has gone");
  }

  /** Sleeps until there is something, and adapts the spin to how long that took. */
  async #park(): Promise<void> {
    const fds = new Uint8Array(2 * POLLFD_BYTES), view = new DataView(fds.buffer);
    [this.#options.fd, this.#stopFd].forEach((fd, i) => {
      view.setInt32(i * POLLFD_BYTES, fd, true);
      view.setInt16(i * POLLFD_BYTES + 4, POLLIN, true);
    });
    const beginMs = performance.now();
    this.parks++;
    await netCalls().poll(fds, 2n, -1);
    const sleptUs = (performance.now() - beginMs) * 1000;
    this.#windowUs = sleptUs < 4 * this.spinUs ? this.spinUs : this.#windowUs > 4 ? this.#windowUs / 2 : 0;
    const events = view.getInt16(REVENTS, true);
    if (events !== 0 && (events & POLLIN) === 0) this.#failed();
  }
}

function rest(): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, REST_MS).unref());
}
