/**
 * Conversation: one directory `N` of ether: which frames it wants, those that wait for it, and what it sends.
 *
 * Layer: plugins/ether. It looks on at the interface beside whoever owns its queue: each conversation gets its own
 * copy. A file has no place for a FrameInfo, so super-frames are cut and checksums summed up before they are read;
 * after `batch` both stand in a virtio header, and one read or write carries many frames.
 *
 * See ether(3) of Plan 9.
 */

import { Err } from "../../core/err.ts";
import type { Req } from "../../core/dev.ts";
import { type FrameInfo, PLAIN } from "../../core/link.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import type { Nic, Way } from "../../devices/nic.ts";
import { completeChecksum, segment } from "../../devices/segment.ts";
import { makeInfo, readVnet, VNET_BYTES, writeVnet } from "../../devices/vnet.ts";
import { FrameStream } from "./stream.ts";

/** Bytes that wait for one reader at the most. */
const QUEUE_BYTES = 2 << 20;
const ETHER_BYTES = 14, MIN_FRAME = 60, VLAN_BYTES = 4, MAX_SUPER = 65535 + ETHER_BYTES + VLAN_BYTES;
/** What `headersonly` gives: so many bytes of the frame, two of its length, four of the milliseconds. */
const RUNT_HEADER = 58, RUNT_BYTES = 64;
/** A record's head in batch mode: the length of the frame, and its virtio header. */
const LENGTH_BYTES = 4, RECORD_HEAD = LENGTH_BYTES + VNET_BYTES;
const ALL = -1, HEADERS = -2;

/** One conversation. */
export class Conversation {
  /** An ethertype, -1 for all, undefined before `connect`. */
  type: number | undefined;
  promiscuous = false;
  /** Frames for any group. */
  allMulti = false;
  headersOnly = false;
  batch = false;
  readonly stream = new FrameStream("frame", QUEUE_BYTES);
  readonly #nic: Nic;
  readonly #nowMs: () => number;
  readonly #groups = new Set<string>();
  readonly #stop: (() => void)[];
  /** This conversation's own frame is under way. */
  #sending = false;

  /** `nics` are the queues of the interface; it sends on the first. */
  constructor(nics: readonly Nic[], nowMs: () => number) {
    this.#nic = nics[0];
    this.#nowMs = nowMs;
    this.#stop = nics.map((nic) => nic.observe((way, bytes, at, end, info) => this.#see(way, bytes, at, end, info)));
  }

  /** Says which frames are wanted: those of an ethertype, of all types (-1), or the headers of all (-2). */
  connect(type: number): void {
    this.type = type === HEADERS ? ALL : type;
    this.headersOnly ||= type === HEADERS;
  }

  setBatch(on: boolean): void {
    this.batch = on;
    this.stream.clear();
    this.stream.mode = on ? "records" : "frame";
  }

  /** Wants what is sent to a group. */
  addMulti(mac: Uint8Array): void {
    if ((mac[0] & 1) === 0) throw new Err("EINVAL", "that is the address of one station, not of a group");
    this.#groups.add(mac.join());
  }

  removeMulti(mac: Uint8Array): void {
    if (!this.#groups.delete(mac.join())) throw new Err("ENOENT", "that group was not added");
  }

  read(dst: Uint8Array, req: Req): number | Promise<Uint8Array> {
    return this.stream.read(dst, req);
  }

  /** Sends a frame, or in batch mode all records of a write; waits while the device has no room. */
  write(data: Uint8Array, req: Req): MaybePromise<number> {
    if (this.batch) return this.#sendRecords(data.slice(), data.length, req);
    const isEther = this.#nic.medium === "ether", head = isEther ? ETHER_BYTES : 0;
    if (data.length < head || data.length === 0) throw new Err("EINVAL", `a frame has at least ${head} bytes`);
    const tagged = isEther && data[12] === 0x81 && data[13] === 0 ? VLAN_BYTES : 0;
    if (data.length > this.#nic.mtu + head + tagged) {
      throw new Err(
        "EMSGSIZE",
        `${data.length} bytes are more than the medium takes, ${this.#nic.mtu + head + tagged}`,
      );
    }
    const frame = new Uint8Array(isEther ? Math.max(data.length, MIN_FRAME) : data.length);
    frame.set(data);
    if (isEther) frame.set(this.#nic.mac, 6);
    const count = data.length, sent = this.#send(frame, PLAIN, req);
    return sent instanceof Promise ? sent.then(() => count) : count;
  }

  close(): void {
    for (const stop of this.#stop) stop();
    this.stream.end();
  }

  #see(way: Way, bytes: Uint8Array, at: number, end: number, info: FrameInfo): void {
    if (this.type === undefined || !this.#wants(way, bytes, at, end)) return;
    if (this.headersOnly) this.stream.push(this.#runt(bytes, at, end));
    else if (this.batch) this.stream.push(recordOf(bytes, at, end, info));
    else {
      segment(bytes, at, end, info, {
        medium: this.#nic.medium,
        emit: (b, from, to, about) => {
          const frame = b.slice(from, to);
          completeChecksum(frame, 0, frame.length, about);
          this.stream.push(frame);
        },
      });
    }
  }

  /** What others send from here is wanted by who is promiscuous, and when it is for all. */
  #wants(way: Way, bytes: Uint8Array, at: number, end: number): boolean {
    if (this.#sending) return false;
    if (this.#nic.medium === "ip") {
      const type = bytes[at] >>> 4 === 6 ? 0x86dd : 0x0800;
      return (this.type === ALL || this.type === type) && (way === "in" || this.promiscuous);
    }
    if (end - at < ETHER_BYTES) return false;
    if (this.type !== ALL && this.type !== (bytes[at + 12] << 8 | bytes[at + 13])) return false;
    if (this.promiscuous) return true;
    if (bytes[at] & 1) {
      return this.allMulti || isBroadcast(bytes, at) || this.#groups.has(bytes.subarray(at, at + 6).join());
    }
    return way === "in" && isSame(bytes, at, this.#nic.mac);
  }

  #runt(bytes: Uint8Array, at: number, end: number): Uint8Array {
    const runt = new Uint8Array(RUNT_BYTES), view = new DataView(runt.buffer);
    runt.set(bytes.subarray(at, Math.min(end, at + RUNT_HEADER)));
    view.setUint16(RUNT_HEADER, Math.min(end - at, 0xffff));
    view.setUint32(RUNT_HEADER + 2, Math.floor(this.#nowMs()) >>> 0);
    return runt;
  }

  #send(frame: Uint8Array, info: FrameInfo, req: Req): void | Promise<void> {
    this.#sending = true;
    try {
      if (this.#nic.send(frame, info)) return;
    } finally {
      this.#sending = false;
    }
    return new Promise<void>((resolve, reject) => {
      req.onFlush(() => reject(new Err("EINTR")));
      this.#nic.whenRoom(() => req.flushed || resolve(this.#send(frame, info, req)));
    });
  }

  async #sendRecords(data: Uint8Array, count: number, req: Req): Promise<number> {
    const frames = recordsIn(data);
    for (const { frame, info } of frames) {
      const sent = this.#send(frame, info, req);
      if (sent) await sent;
    }
    return count;
  }
}

/** `length[4] virtio header[12] frame[length]`, little-endian. */
function recordOf(bytes: Uint8Array, at: number, end: number, info: FrameInfo): Uint8Array {
  const record = new Uint8Array(RECORD_HEAD + end - at);
  new DataView(record.buffer).setUint32(0, end - at, true);
  writeVnet(record, LENGTH_BYTES, info);
  record.set(bytes.subarray(at, end), RECORD_HEAD);
  return record;
}

/** The frames of whole records. EINVAL, and nothing is sent, when they are not. */
function recordsIn(data: Uint8Array): { frame: Uint8Array; info: FrameInfo }[] {
  const view = new DataView(data.buffer, data.byteOffset, data.length), frames = [];
  for (let at = 0; at < data.length;) {
    const length = at + RECORD_HEAD <= data.length ? view.getUint32(at, true) : -1, end = at + RECORD_HEAD + length;
    if (length < 1 || length > MAX_SUPER || end > data.length) {
      throw new Err("EINVAL", `no whole record at byte ${at} of ${data.length} (length[4] virtio[12] frame)`);
    }
    const info = makeInfo();
    readVnet(data, at + LENGTH_BYTES, info);
    frames.push({ frame: data.subarray(at + RECORD_HEAD, end), info });
    at = end;
  }
  return frames;
}

function isBroadcast(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 6; i++) if (bytes[at + i] !== 0xff) return false;
  return true;
}

function isSame(bytes: Uint8Array, at: number, mac: Uint8Array): boolean {
  for (let i = 0; i < 6; i++) if (bytes[at + i] !== mac[i]) return false;
  return true;
}
