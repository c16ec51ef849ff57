/**
 * Capture files, as they grow: their header, and records as they come.
 *
 * Layer: programs/lib, over bytes.ts. Both byte orders, micro- and nanoseconds.
 *
 * See draft-ietf-opsawg-pcap.
 */

import { Err } from "ring9/proc";
import type { ByteReader } from "./bytes.ts";

export const LINKTYPE_ETHERNET = 1;
const HEADER_BYTES = 24, RECORD_BYTES = 16, MAX_FRAME_BYTES = 1 << 20;
const MICROSECONDS = 0xa1b2c3d4, NANOSECONDS = 0xa1b23c4d;

/** One packet. */
export interface PcapRecord {
  /** Milliseconds since 1970. */
  ms: number;
  frame: Uint8Array;
  /** The record as it is in the file. */
  bytes: Uint8Array;
}

/** What has come: at first the header alone, then a record at a time. */
export interface PcapPart {
  header?: Uint8Array;
  linktype: number;
  records: PcapRecord[];
}

/** Reads a capture to its end. Throws EPROTO when it is none. */
export async function* readPcap(reader: ByteReader): AsyncGenerator<PcapPart> {
  const header = await reader.exactly(HEADER_BYTES), view = new DataView(header.buffer);
  const little = [MICROSECONDS, NANOSECONDS].includes(view.getUint32(0, true)), magic = view.getUint32(0, little);
  if (magic !== MICROSECONDS && magic !== NANOSECONDS) throw new Err("EPROTO", "not a capture file");
  const linktype = view.getUint32(20, little) & 0xfffffff, perMs = magic === NANOSECONDS ? 1e6 : 1e3;
  yield { header, linktype, records: [] };
  for (;;) {
    const first = await reader.some(1);
    if (first.length === 0) return;
    const head = Uint8Array.of(first[0], ...await reader.exactly(RECORD_BYTES - 1)), fields = new DataView(head.buffer);
    const length = fields.getUint32(8, little);
    if (length > MAX_FRAME_BYTES) throw new Err("EPROTO", `a frame of ${length} bytes`);
    const bytes = new Uint8Array(RECORD_BYTES + length);
    bytes.set(head);
    bytes.set(await reader.exactly(length), RECORD_BYTES);
    const ms = fields.getUint32(0, little) * 1000 + fields.getUint32(4, little) / perMs;
    yield { linktype, records: [{ ms, frame: bytes.subarray(RECORD_BYTES), bytes }] };
  }
}
