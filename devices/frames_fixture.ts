/**
 * Frames that tests of devices send, and a sink that keeps what arrives.
 *
 * Layer: devices, tests.
 */

import { CHECKSUM, type FrameInfo, type FrameSink, GSO, PLAIN, type Port } from "../core/link.ts";

/** A frame that arrived, copied. */
export interface Got {
  bytes: Uint8Array;
  info: FrameInfo;
}

const FIND_MS = 5000;

/** Keeps what arrives, and waits for what is looked for. */
export class Keeper implements FrameSink {
  readonly got: Got[] = [];
  begins = 0;
  ends = 0;
  #wake = () => {};

  begin() {
    this.begins++;
  }
  frame(bytes: Uint8Array, at: number, end: number, info: FrameInfo) {
    this.got.push({ bytes: bytes.slice(at, end), info: { ...info } });
    this.#wake();
  }
  end() {
    this.ends++;
  }

  /** The first frame that is wanted, once it is there. */
  async find(wanted: (got: Got) => boolean): Promise<Got> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("the frame has not come")), FIND_MS);
    });
    try {
      for (let from = 0;;) {
        for (; from < this.got.length; from++) if (wanted(this.got[from])) return this.got[from];
        await Promise.race([late, new Promise<void>((resolve) => this.#wake = resolve)]);
      }
    } finally {
      clearTimeout(timer);
      late.catch(() => {});
    }
  }
}

/** Sends a frame as a stack does; false when there is no room. */
export function send(port: Port, frame: Uint8Array, info: FrameInfo = PLAIN): boolean {
  if (!port.begin(frame.length)) return false;
  port.frame.set(frame, port.frameAt);
  port.end(frame.length, info);
  port.flush();
  return true;
}

/** What a frame is made of. */
export interface FrameSpec {
  to: Uint8Array;
  from: Uint8Array;
  proto: "tcp" | "udp";
  payload: number;
  /** Segments are to be cut to so many bytes of payload. */
  gsoBytes?: number;
  port?: number;
}

/** An IPv4 frame from 10.99.0.2 to 10.99.0.1 whose checksum is left to the device; the payload counts up by sevens. */
export function frameOf({ to, from, proto, payload, gsoBytes = 0, port = 9 }: FrameSpec): [Uint8Array, FrameInfo] {
  const l4 = proto === "tcp" ? 20 : 8, number = proto === "tcp" ? 6 : 17;
  const frame = new Uint8Array(34 + l4 + payload), view = new DataView(frame.buffer);
  frame.set(to);
  frame.set(from, 6);
  view.setUint16(12, 0x0800);
  frame.set([0x45, 0, 0, 0, 0, 1, 0, 0, 64, number, 0, 0, 10, 99, 0, 2, 10, 99, 0, 1], 14);
  view.setUint16(16, 20 + l4 + payload);
  view.setUint16(24, ~sum(frame, 14, 34) & 0xffff);
  view.setUint16(34, 7777);
  view.setUint16(36, port);
  const field = proto === "tcp" ? 16 : 6;
  if (proto === "udp") view.setUint16(38, 8 + payload);
  else {
    view.setUint32(38, 1_000_000);
    view.setUint32(42, 77);
    frame.set([0x50, 0x18, 0xff, 0xff], 46);
  }
  for (let i = 0; i < payload; i++) frame[34 + l4 + i] = i * 7;
  view.setUint16(34 + field, add(sum(frame, 26, 34), number + l4 + payload));
  const info = { ...PLAIN, checksum: CHECKSUM.partial, checksumStart: 34, checksumOffset: field };
  if (gsoBytes === 0) return [frame, info];
  return [frame, { ...info, gso: proto === "tcp" ? GSO.tcp4 : GSO.udp, gsoBytes, headerBytes: 34 + l4 }];
}

/** Whether IPv4's and the transport's checksum are right. */
export function checksumsOk(frame: Uint8Array): boolean {
  const view = new DataView(frame.buffer, frame.byteOffset), bytes = view.getUint16(16) - 20;
  const pseudo = add(sum(frame, 26, 34), frame[23] + bytes);
  return sum(frame, 14, 34) === 0xffff && add(sum(frame, 34, 34 + bytes), pseudo) === 0xffff;
}

function sum(bytes: Uint8Array, at: number, end: number): number {
  let total = 0;
  for (; at + 1 < end; at += 2) total += bytes[at] << 8 | bytes[at + 1];
  if (at < end) total += bytes[at] << 8;
  return add(total, 0);
}

function add(a: number, b: number): number {
  let total = a + b;
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}
