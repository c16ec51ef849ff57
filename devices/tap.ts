/**
 * Tap: a queue of a TAP interface: Linux's end is an Ethernet interface, ours is this Port.
 *
 * Layer: devices, on fd_port.ts; plugins/ether opens it. Frames carry a virtio net header, so that Linux gives and takes checksums
 * that are not summed up and frames of 64 KiB (segmentation offload), both ways. An interface may have several queues,
 * each a Tap of its own for an isolate of its own; Linux keeps a flow on one queue. Without that header frames are of the MTU,
 * cut by fd_port.ts, and Linux merges them again (host_gro.ts).
 *
 * What holds always: one buffer each way, so the bytes stay in the cache; an interface that was made by opening goes
 * with its last queue.
 *
 * See Documentation/networking/tuntap.rst of Linux.
 */

import { Err, toErr } from "../core/err.ts";
import { FdPort, type FdPortOptions, FRAME_BYTES } from "./fd_port.ts";
import {
  allocate,
  cstr,
  EAGAIN,
  EBADFD,
  EINTR,
  ENOBUFS,
  errno,
  hostInterface,
  type HostSettings,
  Ifreq,
  must,
  type NetCalls,
  netCalls,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDWR,
  setHostInterface,
} from "./net_calls.ts";
import { setHostGro } from "./host_gro.ts";
import { randomMac } from "./mac.ts";
import { readVnet, VNET_BYTES } from "./vnet.ts";

const IFF_TAP = 2, IFF_NAPI = 0x10, IFF_NO_PI = 0x1000, IFF_VNET_HDR = 0x4000, IFF_MULTI_QUEUE = 0x100;
const TUNSETIFF = 0x400454can, TUNSETOFFLOAD = 0x400454d0n, TUNSETVNETHDRSZ = 0x400454d8n;
const TUN_F_CSUM = 1, TUN_F_TSO4 = 2, TUN_F_TSO6 = 4, TUN_F_USO = 0x60;
const FLAGS_AT = 16;

/** A batch ends behind so many bytes, while they are in the caches still. */
const BATCH_BYTES = 262_144;

/** How a TAP queue is opened. */
export interface TapOptions extends FdPortOptions, HostSettings {
  /** The interface; made when it is not there. */
  name: string;
  /** Our own address, six bytes; a random one when not given. The interface has another, for Linux's side. */
  mac?: Uint8Array;
  /** Checksum and segmentation offload both ways, with the vnet header; true when not said. */
  offload?: boolean;
  /** Without offload: whether Linux merges what it is sent (GRO); true when not said. Needs CAP_SYS_ADMIN, too. */
  gro?: boolean;
  /** Whether the interface may have more queues; then all of them are opened so. */
  multiQueue?: boolean;
}

/**
 * Opens a queue. EPERM without CAP_NET_ADMIN, EBUSY when another has the interface, EINVAL for a queue of another kind.
 */
export function openTap(options: TapOptions): Tap {
  const { offload = true, gro = true } = options;
  if (offload || !gro) return openQueue(options, 0, "off");
  try {
    return openQueue(options, IFF_NAPI, "on");
  } catch (thrown) {
    // It is tried once more, and what is wrong with anything else shows itself again.
    return openQueue(options, 0, `off: ${toErr(thrown).message}`);
  }
}

function openQueue(options: TapOptions, napi: number, gro: string): Tap {
  const calls = netCalls(), { name, offload = true, multiQueue = false } = options;
  const ifreq = new Ifreq(name);
  const fd = must(calls.open(cstr("/dev/net/tun"), O_RDWR | O_NONBLOCK | O_CLOEXEC), "/dev/net/tun");
  try {
    const flags = IFF_TAP | IFF_NO_PI | napi | (offload ? IFF_VNET_HDR : 0) | (multiQueue ? IFF_MULTI_QUEUE : 0);
    ifreq.view.setUint16(FLAGS_AT, flags, true);
    must(calls.ioctl(fd, TUNSETIFF, ifreq.bytes), `tap ${name}`);
    if (offload) setOffload(calls, fd, name);
    if (napi !== 0) setHostGro(name);
    setHostInterface(name, options);
    return new Tap(fd, options, hostInterface(name).mtu, gro);
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
export class Tap extends FdPort {
  readonly kind = "tap";
  /** Whether Linux merges what it is sent: `on`, `off`, or `off: ` and why it can not. */
  readonly gro: string;
  readonly #rx = allocate(FRAME_BYTES);
  readonly #rxBytes = new Uint8Array(this.#rx.buffer);

  /** Takes over the descriptor; use `openTap`. */
  constructor(fd: number, options: TapOptions, mtu: number, gro: string) {
    const headerBytes = options.offload === false ? 0 : VNET_BYTES;
    super({ fd, mac: options.mac ?? randomMac(), mtu, headerBytes }, options);
    this.gro = gro;
  }

  protected drain(limit: number): number {
    const { calls, info } = this, { addr } = this.#rx, header = this.frameAt;
    let count = 0;
    for (let bytes = 0; count < limit && bytes < BATCH_BYTES && !this.closed; count++) {
      const got = calls.read(this.fd, addr, FRAME_BYTES);
      if (got <= header) {
        if (got < 0) checkRead(this.name);
        break;
      }
      bytes += got;
      const sink = this.sink;
      if (!sink) {
        this.inDrops++;
        continue;
      }
      if (count === 0) sink.begin();
      if (header > 0) readVnet(this.#rxBytes, 0, info);
      this.inPackets++;
      this.inBytes += got - header;
      sink.frame(this.#rxBytes, header, got, info);
    }
    if (count > 0) this.sink?.end();
    return count;
  }

  protected transmit(addr: bigint, bytes: number): boolean {
    return this.calls.write(this.fd, addr, bytes) === bytes;
  }
}

/** Throws unless the read failed because there is nothing. */
function checkRead(name: string): void {
  const why = errno();
  if (why === EBADFD) throw new Err("ENODEV", `tap ${name} has gone`);
  if (why !== EAGAIN && why !== EINTR && why !== ENOBUFS) must(-1, `read of tap ${name}`);
}
