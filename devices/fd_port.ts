/**
 * FdPort: what a TAP's queue and a packet socket have in common: a descriptor that frames leave by, a pump that brings
 * those that arrive, a virtio net header before each, counters.
 *
 * Layer: devices, below tap.ts and packet.ts, above pump.ts.
 *
 * What holds always: one buffer for what is sent, so its bytes stay in the cache; a frame is sent when it ends, `flush`
 * has nothing to do; what the host refuses is lost and counted, as on a wire.
 */

import { Err } from "../core/err.ts";
import type { FrameInfo, FrameSink, Port } from "../core/link.ts";
import { allocate, type Memory, netCalls } from "./net_calls.ts";
import { Pump } from "./pump.ts";
import { makeInfo, writeVnet } from "./vnet.ts";

/** The largest IP packet, bytes. */
const MAX_PACKET_BYTES = 65535;
/** A frame of the largest packet, with all that stands before it: what is sent or received at once, bytes. */
export const FRAME_BYTES = 69632;
/** How long it looks for frames before it sleeps, unless told otherwise. */
export const SPIN_US = 50;

/** What such ports are opened with. */
export interface FdPortOptions {
  /** The interface of the host. */
  name: string;
  /** What the Link is called; the interface's name when not said. */
  as?: string;
  /** Whether super-frames and checksums to be added are sent; true when not said. */
  offload?: boolean;
  /** Microseconds that it looks for frames before it sleeps. */
  spinUs?: number;
  /** Told what failed, of the device or of who takes its frames; `isOver` when nothing will come any more. */
  onFault?(why: Error, isOver: boolean): void;
}

/** What is known of the interface once it is open. */
export interface FdPortFacts {
  fd: number;
  mac: Uint8Array;
  mtu: number;
  /** Bytes of the vnet header before each frame; 0 for none. */
  headerBytes: number;
}

/** See the head of this file. */
export abstract class FdPort implements Port {
  abstract readonly kind: string;
  readonly medium = "ether";
  readonly name: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly checksumOffload: boolean;
  readonly gsoMaxBytes: number;
  frame: Uint8Array;
  readonly frameAt: number;
  onRoom: () => void = () => {};
  protected readonly fd: number;
  protected readonly calls = netCalls();
  protected readonly tx: Memory;
  /** Filled anew for each frame that arrives. */
  protected readonly info = makeInfo();
  protected sink: FrameSink | null = null;
  protected inPackets = 0;
  protected inBytes = 0;
  protected inDrops = 0;
  readonly #pump: Pump;
  #outPackets = 0;
  #outBytes = 0;
  #outDrops = 0;
  #closed: Promise<void> | undefined;

  /** Takes over the descriptor. */
  constructor({ fd, mac, mtu, headerBytes }: FdPortFacts, options: FdPortOptions) {
    const { offload = true } = options;
    this.name = options.as ?? options.name;
    this.mac = mac;
    this.mtu = mtu;
    this.checksumOffload = offload;
    this.gsoMaxBytes = offload ? MAX_PACKET_BYTES : 0;
    this.fd = fd;
    this.tx = allocate(FRAME_BYTES);
    this.frame = new Uint8Array(this.tx.buffer);
    this.frameAt = headerBytes;
    this.#pump = new Pump({
      fd,
      drain: (limit) => this.drain(limit),
      sent: () => this.#outPackets,
      spinUs: options.spinUs ?? SPIN_US,
      onFault: (why, isOver) => options.onFault?.(why, isOver),
    });
  }

  /** Delivers at most `limit` frames to the sink; answers how many there were. */
  protected abstract drain(limit: number): number;

  /** Sends the first `bytes` of `tx`; whether the host took all of them. */
  protected abstract transmit(bytes: number): boolean;

  /** Lets go of what is mapped. */
  protected unmap(): void {}

  /** Microseconds that it looks for frames before it sleeps. */
  get spinUs(): number {
    return this.#pump.spinUs;
  }

  set spinUs(us: number) {
    this.#pump.spinUs = us;
  }

  /** Whether it was closed: the descriptor may have gone. */
  protected get closed(): boolean {
    return this.#closed !== undefined;
  }

  attach(sink: FrameSink | null): void {
    this.sink = sink;
    if (sink && !this.closed) this.#pump.start();
  }

  begin(bytes: number): boolean {
    if (bytes > FRAME_BYTES - this.frameAt) throw new Err("EMSGSIZE");
    return true;
  }

  end(bytes: number, info: FrameInfo): void {
    if (this.closed) return void this.#outDrops++;
    if (this.frameAt > 0) writeVnet(this.frame, 0, info);
    if (this.transmit(this.frameAt + bytes)) {
      this.#outPackets++;
      this.#outBytes += bytes;
    } else this.#outDrops++; // the interface is down, its queue full, or Linux refuses the frame
  }

  cancel(): void {}

  flush(): void {}

  counters(): Record<string, number> {
    return {
      inPackets: this.inPackets,
      inBytes: this.inBytes,
      inDrops: this.inDrops,
      outPackets: this.#outPackets,
      outBytes: this.#outBytes,
      outDrops: this.#outDrops,
      parks: this.#pump.parks,
      idleLooks: this.#pump.idleLooks,
    };
  }

  close(): Promise<void> {
    return this.#closed ??= this.#pump.stop().then(() => {
      this.calls.close(this.fd);
      this.unmap();
    });
  }
}
