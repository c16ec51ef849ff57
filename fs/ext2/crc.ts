/**
 * The two checksums of ext4: CRC-32C (Castagnoli) over metadata, CRC-16 over group descriptors. Neither is inverted
 * at the end, and both take the running value as an argument, as the format wants it.
 *
 * Layer: fs/ext2, a leaf, pure.
 */

const CRC32C_TABLE = makeTable(0x82f63b78);
const CRC16_TABLE = makeTable(0xa001);

function makeTable(polynomial: number): Uint32Array {
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    let value = i;
    for (let bit = 0; bit < 8; bit++) value = (value & 1) ? (value >>> 1) ^ polynomial : value >>> 1;
    table[i] = value >>> 0;
  }
  return table;
}

/** CRC-32C of `bytes[start, end)` going on from `crc`. */
export function crc32c(crc: number, bytes: Uint8Array, start = 0, end = bytes.length): number {
  for (let i = start; i < end; i++) crc = (crc >>> 8) ^ CRC32C_TABLE[(crc ^ bytes[i]) & 0xff];
  return crc >>> 0;
}

/** CRC-32C of one little-endian 32-bit word going on from `crc`. */
export function crc32cWord(crc: number, word: number): number {
  for (let shift = 0; shift < 32; shift += 8) {
    crc = (crc >>> 8) ^ CRC32C_TABLE[(crc ^ (word >>> shift)) & 0xff];
  }
  return crc >>> 0;
}

/** CRC-16 of `bytes[start, end)` going on from `crc`. */
export function crc16(crc: number, bytes: Uint8Array, start = 0, end = bytes.length): number {
  for (let i = start; i < end; i++) crc = (crc >>> 8) ^ CRC16_TABLE[(crc ^ bytes[i]) & 0xff];
  return crc & 0xffff;
}
