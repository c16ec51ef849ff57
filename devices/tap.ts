/**
 * Tap: a queue of a TAP interface: Linux's end is an Ethernet interface, ours is this Port.
 *
 * Layer: devices; plugins/ether opens it. Frames carry a virtio net header, so that Linux gives and takes checksums
 * that are not summed up and frames of 64 KiB (segmentation offload), both ways. An interface may have several queues,
 * each a Tap of its own for an isolate of its own; Linux keeps a flow on one queue.
 *
 * What holds always: one buffer each way, so the bytes stay in the cache; a frame is written when it ends, `flush` has
 * nothing to do; an interface that was made by opening goes with its last queue.
 *
 * See Documentation/networking/tuntap.rst of Linux.
 */

import { Err } from "../core/err.ts";
import type { FrameInfo, FrameSink, Port } from "../core/link.ts";
import {
  cstr,
  EAGAIN,
  EBADFD,
  EINTR,
  ENOBUFS,
  errno,
  hostInterface,
  type HostSettings,
  Ifreq,
  map,
  type Mapping,
  must,
  type NetCalls,
  netCalls,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDWR,
  setHostInterface,
} from "./net_calls.ts";
import { randomMac } from "./mac.ts";
import { Pump } from "./pump.ts";
import { makeInfo, readVnet, VNET_BYTES, writeVnet } from "./vnet.ts";

const IFF_TAP = 2, IFF_NO_PI = 0x1000, IFF_VNET_HDR = 0x4000, IFF_MULTI_QUEUE = 0x100;
const TUNSETIFF = 0x400454can, TUNSETOFFLOAD = 0x400454d0n, TUNSETVNETHDRSZ = 0x400454d8n;
const TUN_F_CSUM = 1, TUN_F_TSO4 = 2, TUN_F_TSO6 = 4, TUN_F_USO = 0x60;
const FLAGS_AT = 16;

/** The largest IP packet. */
const MAX_PACKET = 65535;
const BUFFER_BYTES = 69632;
/** A batch ends behind so many bytes, while they are in the caches still. */
const BATCH_BYTES = 262_144;
/** How long it looks for frames before it sleeps, unless told otherwise. */
export const SPIN_US = 50;

/** How a TAP queue is opened. */
export interface TapOptions extends HostSettings {
  /** The interface; made when it is not there. */
  name: string;
  /** What the Link is called; the interface's name when not said. */
  as?: string;
  /** Our own address, six bytes; a random one when not given. The interface has another, for Linux's side. */
  mac?: Uint8Array;
  /** Checksum and segmentation offload, with the vnet header; true when not said. */
  offload?: boolean;
  /** Whether the interface may have more queues; then all of them are opened so. */
  multiQueue?: boolean;
  /** Microseconds that it looks for frames before it sleeps. */
  spinUs?: number;
  /** Told what failed, of the device or of who takes its frames; `isOver` when nothing will come any more. */
  onFault?(why: Error, isOver: boolean): void;
}

/**
 * Opens a queue. EPERM without CAP_NET_ADMIN, EBUSY when another has the interface, EINVAL for a queue of another kind.
 */
export function openTap(options: TapOptions): Tap {
  const calls = netCalls(), { name, offload = true, multiQueue = false } = options;
  const ifreq = new Ifreq(name);
  const fd = must(calls.open(cstr("/dev/net/tun"), O_RDWR | O_NONBLOCK | O_CLOEXEC), "/dev/net/tun");
  try {
    const flags = IFF_TAP | IFF_NO_PI | (offload ? IFF_VNET_HDR : 0) | (multiQueue ? IFF_MULTI_QUEUE : 0);
    ifreq.view.setUint16(FLAGS_AT, flags, true);
    must(calls.ioctl(fd, TUNSETIFF, ifreq.bytes), `tap ${name}`);
    if (offload) setOffload(calls, fd, name);
    setHostInterface(name, options);
    return new Tap(fd, options, hostInterface(name).mtu);
  } catch (thrown) {
    calls.close(fd);
    throw thrown;
  }
}

/** Everything that this kernel offloads; one before 6.2 cuts no UDP. */
function setOffload(calls: NetCalls, fd: number, name: string): void {
  must(calls.ioctl(fd, TUNSETVNETHDRSZ, new Int32Array([VNET_BYTES])), `tap ${name}: vnet header`);
  const tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  if (calls.ioctlValue(fd, TUNSETOFFLOAD, BigInt(tcp | TUN_F_USO)) === 0) return;
  must(calls.ioctlValue(fd, TUNSETOFFLOAD, BigInt(tcp)), `tap ${name}: offload`);
}

/** See the head of this file. */
export class Tap implements Port {
  readonly kind = "tap";
  readonly medium = "ether";
  readonly name: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly checksumOffload: boolean;
  readonly gsoMaxBytes: number;
  frame: Uint8Array;
  readonly frameAt: number;
  onRoom: () => void = () => {};
  readonly #fd: number;
  readonly #calls = netCalls();
  readonly #rx: Mapping;
  readonly #tx: Mapping;
  readonly #rxBytes: Uint8Array;
  readonly #info = makeInfo();
  readonly #pump: Pump;
  readonly #headerBytes: number;
  #sink: FrameSink | null = null;
  #closed: Promise<void> | undefined;
  #inPackets = 0;
  #inBytes = 0;
  #inDrops = 0;
  #outPackets = 0;
  #outBytes = 0;
  #outDrops = 0;

  /** Takes over the descriptor; use `openTap`. */
  constructor(fd: number, options: TapOptions, mtu: number) {
    const { offload = true } = options;
    this.#fd = fd;
    this.name = options.as ?? options.name;
    this.mac = options.mac ?? randomMac();
    this.mtu = mtu;
    this.checksumOffload = offload;
    this.gsoMaxBytes = offload ? MAX_PACKET : 0;
    this.#headerBytes = this.frameAt = offload ? VNET_BYTES : 0;
    this.#rx = map(BUFFER_BYTES);
    this.#tx = map(BUFFER_BYTES);
    this.#rxBytes = new Uint8Array(this.#rx.buffer);
    this.frame = new Uint8Array(this.#tx.buffer);
    this.#pump = new Pump({
      fd,
      drain: (limit) => this.#drain(limit),
      spinUs: options.spinUs ?? SPIN_US,
      onFault: (why, isOver) => options.onFault?.(why, isOver),
    });
  }

  /** Microseconds that it looks for frames before it sleeps. */
  get spinUs(): number {
    return this.#pump.spinUs;
  }

  set spinUs(us: number) {
    this.#pump.spinUs = us;
  }

  attach(sink: FrameSink | null): void {
    this.#sink = sink;
    if (sink && !this.#closed) this.#pump.start();
  }

  begin(bytes: number): boolean {
    if (bytes > BUFFER_BYTES - this.#headerBytes) throw new Err("EMSGSIZE");
    return true;
  }

  end(bytes: number, info: FrameInfo): void {
    if (this.#closed) return void this.#outDrops++;
    if (this.#headerBytes > 0) writeVnet(this.frame, 0, info);
    const all = this.#headerBytes + bytes;
    if (this.#calls.write(this.#fd, this.#tx.addr, all) === all) {
      this.#outPackets++;
      this.#outBytes += bytes;
    } else this.#outDrops++; // the interface is down, or Linux refuses the frame: it is lost, as on a wire
  }

  cancel(): void {}

  flush(): void {}

  counters(): Record<string, number> {
    return {
      inPackets: this.#inPackets,
      inBytes: this.#inBytes,
      inDrops: this.#inDrops,
      outPackets: this.#outPackets,
      outBytes: this.#outBytes,
      outDrops: this.#outDrops,
      parks: this.#pump.parks,
      idleLooks: this.#pump.idleLooks,
    };
  }

  close(): Promise<void> {
    return this.#closed ??= this.#pump.stop().then(() => {
      this.#calls.close(this.#fd);
      this.frame = new Uint8Array(BUFFER_BYTES); // who still sends must not meet memory that is gone
      this.#rx.unmap();
      this.#tx.unmap();
    });
  }

  #drain(limit: number): number {
    const calls = this.#calls, { addr } = this.#rx, header = this.#headerBytes, info = this.#info;
    let count = 0;
    for (let bytes = 0; count < limit && bytes < BATCH_BYTES && !this.#closed; count++) {
      const got = calls.read(this.#fd, addr, BUFFER_BYTES);
      if (got <= header) {
        if (got < 0) checkRead(this.name);
        break;
      }
      bytes += got;
      const sink = this.#sink;
      if (!sink) {
        this.#inDrops++;
        continue;
      }
      if (count === 0) sink.begin();
      if (header > 0) readVnet(this.#rxBytes, 0, info);
      this.#inPackets++;
      this.#inBytes += got - header;
      sink.frame(this.#rxBytes, header, got, info);
    }
    if (count > 0) this.#sink?.end();
    return count;
  }
}

/** Throws unless the read failed because there is nothing. */
function checkRead(name: string): void {
  const why = errno();
  if (why === EBADFD) throw new Err("ENODEV", `tap ${name} has gone`);
  if (why !== EAGAIN && why !== EINTR && why !== ENOBUFS) must(-1, `read of tap ${name}`);
}
