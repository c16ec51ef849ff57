/**
 * Packet: an interface that Linux has already (a veth, a NIC), through a packet socket with rings in shared memory.
 *
 * Layer: devices, on fd_port.ts; plugins/ether opens it. Frames are received from slots that Linux fills (TPACKET_V2: each frame is
 * there at once; V3's blocks are cheaper to fill, but come a tick of the kernel late), without a system call each, and
 * may be super-frames: a slot holds 64 KiB. They are sent by send(2). A virtio net header stands before each, as with a
 * TAP.
 *
 * What holds always: a slot goes back to Linux when its frame was delivered; what Linux finds no slot for is counted as
 * a drop; frames that are sent on the interface here are not received. A VLAN tag that the NIC took off is not put
 * back.
 *
 * See packet(7) and Documentation/networking/packet_mmap.rst of Linux.
 */

import type { FrameSink } from "../core/link.ts";
import { FdPort, type FdPortOptions, FRAME_BYTES } from "./fd_port.ts";
import { hostInterface, map, type Mapping, must, type NetCalls, netCalls } from "./net_calls.ts";
import { readVnet, VNET_SHORT_BYTES as VNET_BYTES } from "./vnet.ts";

const AF_PACKET = 17, SOCK_RAW = 3, SOCK_CLOEXEC = 0o2000000, SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1, SO_SNDBUFFORCE = 32, SOL_PACKET = 263, MSG_DONTWAIT = 0x40, ETH_P_ALL = 3;
const PACKET_ADD_MEMBERSHIP = 1, PACKET_RX_RING = 5, PACKET_STATISTICS = 6, PACKET_VERSION = 10;
const PACKET_VNET_HDR = 15, PACKET_QDISC_BYPASS = 20, PACKET_IGNORE_OUTGOING = 23;
const TPACKET_V2 = 1, PACKET_MR_PROMISC = 1;
const SLOT_BYTES = FRAME_BYTES, BLOCK_BYTES = 1 << 20, BLOCKS = 16;
const SLOTS_A_BLOCK = Math.floor(BLOCK_BYTES / SLOT_BYTES), SLOTS = SLOTS_A_BLOCK * BLOCKS;
/** Words of a slot's head: status, bytes on the wire and captured; half-word of where the frame begins. */
const STATUS = 0, LENGTH = 1, CAPTURED = 2, MAC_AT = 6;
const TP_STATUS_KERNEL = 0, TP_STATUS_USER = 1;
const SEND_BYTES = 8 << 20;

/** How a packet socket is opened. */
export interface PacketOptions extends FdPortOptions {
  /** Our address; the interface's own when not given. */
  mac?: Uint8Array;
  /** Whether super-frames and checksums to be added are sent; true when not said. They are received in any case. */
  offload?: boolean;
}

/** Opens a packet socket. EPERM without CAP_NET_RAW, ENODEV when there is no such interface. */
export function openPacket(options: PacketOptions): Packet {
  const calls = netCalls(), { name } = options, { index, mtu, mac } = hostInterface(name);
  const type = SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK;
  const fd = must(calls.socket(AF_PACKET, type, 0), `packet ${name}`);
  try {
    const set = (option: number, ...words: number[]) => setOption(calls, fd, name, option, words);
    set(PACKET_VERSION, TPACKET_V2);
    set(PACKET_VNET_HDR, 1);
    set(PACKET_RX_RING, BLOCK_BYTES, BLOCKS, SLOT_BYTES, SLOTS);
    set(PACKET_IGNORE_OUTGOING, 1);
    set(PACKET_QDISC_BYPASS, 1);
    if (options.mac) set(PACKET_ADD_MEMBERSHIP, index, PACKET_MR_PROMISC, 0, 0);
    calls.setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, new Int32Array([SEND_BYTES]), 4); // as much as one may have
    const ring = map(BLOCK_BYTES * BLOCKS, fd);
    const address = new DataView(new ArrayBuffer(20));
    address.setUint16(0, AF_PACKET, true);
    address.setUint16(2, ETH_P_ALL);
    address.setInt32(4, index, true);
    must(calls.bind(fd, new Uint8Array(address.buffer), address.byteLength), `packet ${name}`);
    return new Packet(fd, ring, { ...options, mac: options.mac ?? mac }, mtu);
  } catch (thrown) {
    calls.close(fd);
    throw thrown;
  }
}

function setOption(calls: NetCalls, fd: number, name: string, option: number, words: number[]): void {
  const value = new Int32Array(words);
  must(calls.setsockopt(fd, SOL_PACKET, option, value, value.byteLength), `packet ${name}: option ${option}`);
}

/** See the head of this file. */
export class Packet extends FdPort {
  readonly kind = "packet";
  readonly #ring: Mapping;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #halves: Uint16Array;
  #slot = 0;

  /** Takes over the descriptor and its ring; use `openPacket`. */
  constructor(fd: number, ring: Mapping, options: PacketOptions & { mac: Uint8Array }, mtu: number) {
    super({ fd, mac: options.mac, mtu, headerBytes: VNET_BYTES }, options);
    this.#ring = ring;
    this.#bytes = new Uint8Array(ring.buffer);
    this.#words = new Uint32Array(ring.buffer);
    this.#halves = new Uint16Array(ring.buffer);
  }

  override counters(): Record<string, number> {
    this.#countDrops();
    return super.counters();
  }

  protected transmit(addr: bigint, bytes: number): boolean {
    return this.calls.send(this.fd, addr, bytes, MSG_DONTWAIT) > 0;
  }

  protected override unmap(): void {
    this.#ring.unmap();
  }

  protected drain(limit: number): number {
    const words = this.#words, { sink } = this;
    let count = 0;
    for (; count < limit && !this.closed; count++) {
      const slot = slotAt(this.#slot), word = slot >> 2;
      if ((Atomics.load(words, word + STATUS) & TP_STATUS_USER) === 0) break;
      if (count === 0) sink?.begin();
      try {
        this.#deliver(sink, slot + this.#halves[(slot >> 1) + MAC_AT], word);
      } finally {
        Atomics.store(words, word + STATUS, TP_STATUS_KERNEL);
        this.#slot = (this.#slot + 1) % SLOTS;
      }
    }
    if (count > 0) sink?.end();
    return count;
  }

  #deliver(sink: FrameSink | null, at: number, word: number): void {
    const bytes = this.#words[word + CAPTURED];
    if (!sink || bytes < this.#words[word + LENGTH]) return void this.inDrops++;
    this.inPackets++;
    this.inBytes += bytes;
    readVnet(this.#bytes, at - VNET_BYTES, this.info);
    sink.frame(this.#bytes, at, at + bytes, this.info);
  }

  /** Adds what Linux has dropped since it was last asked. */
  #countDrops(): void {
    if (this.closed) return;
    const stats = new Uint32Array(2), size = new Uint32Array([stats.byteLength]);
    if (this.calls.getsockopt(this.fd, SOL_PACKET, PACKET_STATISTICS, stats, size) === 0) this.inDrops += stats[1];
  }
}

/** Where a slot begins: slots do not cross blocks. */
function slotAt(index: number): number {
  const block = Math.floor(index / SLOTS_A_BLOCK);
  return block * BLOCK_BYTES + (index - block * SLOTS_A_BLOCK) * SLOT_BYTES;
}
