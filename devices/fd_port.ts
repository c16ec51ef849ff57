/**
 * FdPort: what a TAP's queue and a packet socket have in common: a descriptor that frames leave by, a pump that brings
 * those that arrive, a virtio net header before each, counters.
 *
 * Layer: devices, below tap.ts and packet.ts, above pump.ts.
 *
 * What holds always: one buffer for what is sent, so its bytes stay in the cache; a frame is sent when it ends, `flush`
 * has nothing to do; what the host refuses is lost and counted, as on a wire. Super-frames are cut, and checksums summed up, here
 * when the host is not to: a stack fills 64 KiB at once either way.
 */

import { Err } from "../core/err.ts";
import { CHECKSUM, type FrameInfo, type FrameSink, PLAIN, type Port } from "../core/link.ts";
import { allocate, type Memory, netCalls } from "./net_calls.ts";
import { Pump } from "./pump.ts";
import { completeChecksum, type Cutting, segmentInPlace } from "./segment.ts";
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
  /** Whether super-frames and checksums to be added are left to the host; true when not said. */
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
  readonly gsoMaxBytes = MAX_PACKET_BYTES;
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
  /** How segments leave that are cut here. */
  readonly #cutting: Cutting;
  /** Addresses in `tx`, by offset: a number that is to become one costs as much as a checksum. */
  readonly #addrs = new Map<number, bigint>();
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
    this.fd = fd;
    this.tx = allocate(FRAME_BYTES);
    this.frame = new Uint8Array(this.tx.buffer);
    this.frameAt = headerBytes;
    this.#cutting = { medium: this.medium, emit: (bytes, at, end, info) => this.#sendWhole(bytes, at, end, info) };
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

  /** Sends `bytes` at an address in `tx`, the vnet header among them; whether the host took all of them. */
  protected abstract transmit(addr: bigint, bytes: number): boolean;

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
    const { frame, frameAt } = this;
    if (this.checksumOffload || info.checksum !== CHECKSUM.partial) return this.#send(frameAt, bytes, info);
    segmentInPlace(frame, frameAt, frameAt + bytes, info, this.#cutting);
  }

  /** Sends a frame that the host is to do nothing about. */
  #sendWhole(bytes: Uint8Array, at: number, end: number, info: FrameInfo): void {
    completeChecksum(bytes, at, end, info);
    this.#send(at, end - at, PLAIN);
  }

  /** Sends the frame at `at`; in front of it is room for the vnet header. */
  #send(at: number, bytes: number, info: FrameInfo): void {
    const { frameAt } = this, start = at - frameAt;
    if (frameAt > 0) writeVnet(this.frame, start, info);
    if (this.transmit(start === 0 ? this.tx.addr : this.#addrOf(start), frameAt + bytes)) {
      this.#outPackets++;
      this.#outBytes += bytes;
    } else this.#outDrops++; // the interface is down, its queue full, or Linux refuses the frame
  }

  #addrOf(at: number): bigint {
    let addr = this.#addrs.get(at);
    if (addr === undefined) this.#addrs.set(at, addr = this.tx.addr + BigInt(at));
    return addr;
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
