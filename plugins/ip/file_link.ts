/**
 * FileLink: a link whose frames are read and written through a file: `/net/ipifc/N/data`.
 *
 * Layer: plugins/ip. For a stack that is not where its device is: whoever has both files copies from one to the other.
 * Ethernet frames are records of `/net/etherN`'s batch mode (length[4], virtio net header[12], little-endian, the frame), as
 * many as fit in a read, any number in a write; IP packets (`pkt`) are one a read or write, bare.
 *
 * What holds always: it is bounded; when nobody reads, the stack is told that there is no room.
 */

import type { Req } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import { CHECKSUM, type FrameInfo, GSO, type Link, PLAIN } from "../../core/link.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { makeInfo, readVnet, VNET_BYTES, writeVnet } from "../../devices/vnet.ts";
import { parseMac } from "../../net/addr.ts";
import type { Net } from "./net.ts";
import { quote } from "./command.ts";
import { Waiters } from "./waiters.ts";

const LENGTH_BYTES = 4, RECORD_HEAD = LENGTH_BYTES + VNET_BYTES, MAX_FRAME = 65_535 + 18;
const QUEUE_BYTES = 4 << 20;
const DEFAULT_MTU = 1500, MIN_MTU = 576, MAX_MTU = 65_535;

/** What a link of files is made with. */
export interface FileLinkOptions {
  name: string;
  medium: "ether" | "ip";
  /** Twelve hex digits; random when not given. */
  mac?: string;
  mtu?: string;
  random(bytes: Uint8Array): void;
}

/** See the head of this file. */
export class FileLink implements Link {
  readonly name: string;
  readonly medium: "ether" | "ip";
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly checksumOffload: boolean;
  readonly gsoMaxBytes: number;
  onRoom: () => void = () => {};
  readonly frame = new Uint8Array(RECORD_HEAD + MAX_FRAME);
  readonly frameAt = RECORD_HEAD;
  /** Records that wait to be read, and their bytes. */
  length = 0;
  #queue: Uint8Array[] = [];
  #refused = false;
  #closed = false;
  readonly #readers = new Waiters();
  readonly #net: Net;
  readonly #info = makeInfo();

  constructor({ name, medium, mac, mtu = String(DEFAULT_MTU), random }: FileLinkOptions, net: Net) {
    this.name = name;
    this.medium = medium;
    this.mac = medium === "ip" ? new Uint8Array(6) : mac === undefined ? anyMac(random) : macOf(mac);
    this.mtu = Number(mtu);
    if (!(this.mtu >= MIN_MTU && this.mtu <= MAX_MTU)) throw new Err("EINVAL", `${quote(mtu)} is no MTU`);
    // What is left undone of a frame stands in its record; a bare packet has no place for it.
    this.checksumOffload = medium === "ether";
    this.gsoMaxBytes = medium === "ether" ? MAX_MTU : 0;
    this.#net = net;
  }

  begin(bytes: number): boolean {
    if (this.length + bytes <= QUEUE_BYTES) return true;
    this.#refused = true;
    return false;
  }

  end(bytes: number, info: FrameInfo): void {
    if (this.#closed) return;
    const head = this.medium === "ether" ? RECORD_HEAD : 0, record = new Uint8Array(head + bytes);
    record.set(this.frame.subarray(RECORD_HEAD, RECORD_HEAD + bytes), head);
    if (head > 0) {
      new DataView(record.buffer).setUint32(0, bytes, true);
      writeVnet(record, LENGTH_BYTES, info);
    }
    this.#queue.push(record);
    this.length += record.length;
  }

  cancel(): void {}

  flush(): void {
    this.#readers.wake();
  }

  /** Gives what the stack sends: records as many as fit, or one packet. */
  read(dst: Uint8Array, req: Req): MaybePromise<Uint8Array> {
    return this.take(dst.length, req);
  }

  /** The same, as bytes of the caller's, at most `length`; none when it was closed. */
  take(length: number, req: Req): MaybePromise<Uint8Array> {
    return this.#take(length) ?? this.#readers.wait(req, () => this.#take(length));
  }

  #take(length: number): Uint8Array | undefined {
    if (this.#queue.length === 0) return this.#closed ? new Uint8Array(0) : undefined;
    if (this.medium === "ether" && this.#queue[0].length > length) {
      throw new Err("EMSGSIZE", `the next record has ${this.#queue[0].length} bytes, the read ${length}`);
    }
    const dst = new Uint8Array(Math.min(length, this.length));
    let done = 0;
    do {
      const record = this.#queue.shift()!;
      dst.set(record.length > length ? record.subarray(0, length) : record, done);
      done += Math.min(record.length, length);
      this.length -= record.length;
    } while (this.medium === "ether" && this.#queue.length > 0 && done + this.#queue[0].length <= length);
    if (this.#refused && this.length < QUEUE_BYTES / 2) {
      this.#refused = false;
      this.onRoom();
    }
    return dst.subarray(0, done);
  }

  /** Takes what has come from the other side. */
  write(data: Uint8Array): number {
    const { stack, runner } = this.#net;
    const frames = this.medium === "ether" ? recordsOf(data) : [{ at: 0, end: data.length }];
    runner.begin();
    for (const { at, end } of frames) {
      if (this.medium === "ether") readVnet(data, at - VNET_BYTES, this.#info);
      if (!isSound(this.#info, end - at)) continue;
      stack.input(this, data, at, end, this.medium === "ether" ? this.#info : PLAIN, runner.now);
    }
    runner.end();
    return data.length;
  }

  close(): void {
    this.#closed = true;
    this.#queue = [];
    this.length = 0;
    this.#readers.wake();
  }
}

/** Where the frames of a write are; it has whole records only. */
function recordsOf(data: Uint8Array): { at: number; end: number }[] {
  const view = new DataView(data.buffer, data.byteOffset, data.length), frames: { at: number; end: number }[] = [];
  for (let at = 0; at < data.length;) {
    const end = at + RECORD_HEAD <= data.length ? at + RECORD_HEAD + view.getUint32(at, true) : Infinity;
    if (end > data.length) throw new Err("EINVAL", `no whole record at byte ${at} of ${data.length}`);
    frames.push({ at: at + RECORD_HEAD, end });
    at = end;
  }
  return frames;
}

/** Whether what is said of a frame fits it; a frame of which it does not is dropped. */
function isSound(
  { checksum, checksumStart, checksumOffset, gso, gsoBytes, headerBytes }: FrameInfo,
  bytes: number,
): boolean {
  if (checksum === CHECKSUM.partial && checksumStart + checksumOffset + 2 > bytes) return false;
  return gso === GSO.none || gsoBytes > 0 && headerBytes < bytes;
}

/** A random address of a station, locally administered. */
function anyMac(random: (bytes: Uint8Array) => void): Uint8Array {
  const mac = new Uint8Array(6);
  random(mac);
  mac[0] = mac[0] & 0xfc | 2;
  return mac;
}

function macOf(text: string): Uint8Array {
  const mac = parseMac(text);
  if (mac === undefined || (mac[0] & 1) !== 0) throw new Err("EINVAL", `${quote(text)} is no address of a station`);
  return mac;
}
