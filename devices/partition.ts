/**
 * Partitions: what a disk's tables say of its parts.
 *
 * Layer: devices, over disk.ts. GPT with its checksums, the backup header when the first one is bad; MBR with logical
 * partitions. What a table says is believed only as far as it lies on the disk. Nothing is written.
 *
 * See UEFI 2.10, chapter 5; and sd(3) of Plan 9 for how parts are named (`part1`).
 */

import { crc32 } from "node:zlib";
import type { Disk } from "./disk.ts";

/** A part of a disk, in sectors: `end` is the first one after it. */
export interface Partition {
  /** `part1`, numbered as Linux numbers them. */
  name: string;
  start: number;
  end: number;
  /** What the table calls it: a GUID, or a byte as hex. */
  type: string;
  /** GPT's name. */
  label: string;
}

/** What was found. */
export interface PartitionTable {
  scheme: "gpt" | "mbr" | "none";
  parts: Partition[];
  /** What is wrong with it, for a person. */
  warnings: string[];
}

const EXTENDED = [0x05, 0x0f, 0x85], PROTECTIVE = 0xee;
const MAX_LOGICAL = 128, MAX_GPT_ENTRIES = 1024, MAX_ENTRY_BYTES = 4096;

/** Reads the tables. Throws what the disk throws. */
export async function readPartitions(disk: Disk): Promise<PartitionTable> {
  const table: PartitionTable = { scheme: "none", parts: [], warnings: [] };
  const first = await sector(disk, 0);
  if (!first || first.getUint16(510, true) !== 0xaa55) return table;
  const rows = mbrRows(first);
  if (rows.some((row) => row.type === PROTECTIVE)) return await readGpt(disk, table);
  if (rows.every((row) => row.type === 0)) return table;
  if (!rows.every((row) => row.boot === 0 || row.boot === 0x80)) return table; // a boot sector, not a table
  table.scheme = "mbr";
  for (const [i, row] of rows.entries()) {
    if (EXTENDED.includes(row.type)) await readLogical(disk, table, row);
    else if (row.type !== 0) add(disk, table, { ...row, name: `part${i + 1}` });
  }
  return table;
}

interface MbrRow {
  boot: number;
  type: number;
  start: number;
  count: number;
}

function mbrRows(view: DataView): MbrRow[] {
  return [446, 462, 478, 494].map((at) => ({
    boot: view.getUint8(at),
    type: view.getUint8(at + 4),
    start: view.getUint32(at + 8, true),
    count: view.getUint32(at + 12, true),
  }));
}

/** Logical partitions: a chain of tables, each with one part and the way to the next. */
async function readLogical(disk: Disk, table: PartitionTable, extended: MbrRow): Promise<void> {
  const seen = new Set<number>();
  for (let at = extended.start; seen.size < MAX_LOGICAL;) {
    if (seen.has(at)) return void table.warnings.push("the chain of logical partitions is a circle");
    const view = await sector(disk, at);
    if (!view || view.getUint16(510, true) !== 0xaa55) {
      return void table.warnings.push(`no logical partition at sector ${at}`);
    }
    seen.add(at);
    const [part, next] = mbrRows(view);
    if (part.type !== 0) add(disk, table, { ...part, start: at + part.start, name: `part${5 + seen.size - 1}` });
    if (!EXTENDED.includes(next.type)) return;
    at = extended.start + next.start;
  }
}

async function readGpt(disk: Disk, table: PartitionTable): Promise<PartitionTable> {
  const last = Math.floor(disk.size / disk.sectorBytes) - 1;
  table.scheme = "gpt";
  for (const lba of [1, last]) {
    const entries = await gptEntries(disk, lba);
    if (typeof entries === "string") {
      table.warnings.push(`${lba === 1 ? "first" : "backup"} GPT header: ${entries}`);
      continue;
    }
    entries.forEach((entry, i) => entry && add(disk, table, { ...entry, name: `part${i + 1}` }));
    return table;
  }
  return table;
}

interface Row {
  name: string;
  type: number | string;
  start: number;
  count: number;
  label?: string;
}

/** The rows of a GPT (null where one is free), or what is wrong with it. */
async function gptEntries(disk: Disk, lba: number): Promise<(Omit<Row, "name"> | null)[] | string> {
  const header = await sector(disk, lba);
  if (!header || header.getBigUint64(0, false) !== 0x4546492050415254n) return "not there";
  const headerBytes = header.getUint32(12, true), sum = header.getUint32(16, true);
  if (headerBytes < 92 || headerBytes > disk.sectorBytes) return "bad size";
  header.setUint32(16, 0, true);
  if (crc32(new Uint8Array(header.buffer, 0, headerBytes)) !== sum) return "bad checksum";
  if (header.getBigUint64(24, true) !== BigInt(lba)) return "it is another place's";
  const at = Number(header.getBigUint64(72, true)),
    count = header.getUint32(80, true),
    size = header.getUint32(84, true);
  if (count > MAX_GPT_ENTRIES || size < 128 || size > MAX_ENTRY_BYTES) return "bad number or size of entries";
  const bytes = await sectors(disk, at, Math.ceil(count * size / disk.sectorBytes));
  if (!bytes) return "its entries are outside of the disk";
  if (crc32(bytes.subarray(0, count * size)) !== header.getUint32(88, true)) return "bad checksum of the entries";
  return Array.from({ length: count }, (_, i) => gptRow(bytes.subarray(i * size, (i + 1) * size)));
}

function gptRow(bytes: Uint8Array): Omit<Row, "name"> | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const type = guid(view);
  if (/^[0-]*$/.test(type)) return null;
  const start = Number(view.getBigUint64(32, true)), end = Number(view.getBigUint64(40, true)) + 1;
  const label = new TextDecoder("utf-16le").decode(bytes.subarray(56, 128)).replace(/\0.*$/s, "");
  return { type, start, count: end - start, label };
}

function guid(view: DataView): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  const tail = Array.from({ length: 8 }, (_, i) => hex(view.getUint8(8 + i), 2)).join("");
  const head = `${hex(view.getUint32(0, true), 8)}-${hex(view.getUint16(4, true), 4)}-${
    hex(view.getUint16(6, true), 4)
  }`;
  return `${head}-${tail.slice(0, 4)}-${tail.slice(4)}`;
}

/** Takes a part into the table, if it lies on the disk. */
function add(disk: Disk, table: PartitionTable, row: Row): void {
  const { name, type, start, count, label = "" } = row, limit = Math.floor(disk.size / disk.sectorBytes);
  if (!(start > 0 && count > 0 && start + count <= limit)) {
    table.warnings.push(`${name} is not on the disk: sectors ${start} to ${start + count} of ${limit}`);
    return;
  }
  table.parts.push({
    name,
    start,
    end: start + count,
    type: typeof type === "number" ? type.toString(16) : type,
    label,
  });
}

/** One sector, or null when it is not on the disk. */
async function sector(disk: Disk, lba: number): Promise<DataView | null> {
  const bytes = await sectors(disk, lba, 1);
  return bytes && bytes.length >= 512 ? new DataView(bytes.buffer) : null;
}

async function sectors(disk: Disk, lba: number, count: number): Promise<Uint8Array | null> {
  const { sectorBytes } = disk;
  if (!(lba >= 0 && count > 0 && (lba + count) * sectorBytes <= disk.size)) return null;
  const bytes = new Uint8Array(count * sectorBytes);
  await disk.read(bytes, lba * sectorBytes);
  return bytes;
}
