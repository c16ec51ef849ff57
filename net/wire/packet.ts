/**
 * What the views on packets share: why bytes are refused, the base class, and big-endian fields by offset.
 *
 * Layer: net/wire, its leaf. A view is made once and pointed at one packet after the other by `parse`, which checks all
 * lengths and versions; when it answers nothing, every getter may be trusted and reads nothing outside of the packet.
 * A view copies nothing and holds nothing: it is good as long as the bytes under it stay, and until the next `parse`.
 * Setters write in place and do not touch checksums.
 *
 * A 32-bit word is an int32 everywhere in net: what `| 0` leaves is always a small integer to V8, and costs no memory.
 * `>>> 0` is for printing.
 */

/**
 * Why bytes are not the packet that they were taken for.
 * - `short`: they end before the fixed header does
 * - `version`: another version of the protocol, or other address families
 * - `header`: the header's own length is too small, or runs out of the packet
 * - `length`: the packet's length field contradicts the bytes that are there
 * - `option`: an option's or extension header's length runs out of its room, or there are too many
 * - `field`: a field has a value that the specification forbids
 */
export type Fault = "short" | "version" | "header" | "length" | "option" | "field";

const NONE = new Uint8Array(0);

/** A checked view on the bytes of one packet. */
export abstract class Packet {
  /** The bytes that the packet is in, usually a whole arena. */
  bytes: Uint8Array = NONE;
  /** Where the packet begins. */
  at = 0;
  /** Where it ends, by its own length field if it has one: padding behind it is left out. */
  end = 0;

  /**
   * Points the view at bytes [at, end), a range of `bytes`, if they are such a packet; otherwise answers why not, and the
   * view is not to be used.
   */
  abstract parse(bytes: Uint8Array, at?: number, end?: number): Fault | undefined;

  /** Where what the packet carries begins; it ends at `end`. */
  abstract get payloadAt(): number;

  /** Bytes that the packet carries. */
  get payloadBytes(): number {
    return this.end - this.payloadAt;
  }

  /** Sets the range. */
  protected point(bytes: Uint8Array, at: number, end: number): void {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }
}

/** The 16-bit field at `at`, unsigned. */
export function get16(bytes: Uint8Array, at: number): number {
  return bytes[at] << 8 | bytes[at + 1];
}

/** The 32-bit field at `at`, as an int32. */
export function get32(bytes: Uint8Array, at: number): number {
  return bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
}

export function set16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function set32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Writes a short field, such as an address, at `at`: a loop, because `subarray` and `set` cost more than six bytes do. */
export function put(bytes: Uint8Array, at: number, field: Uint8Array): void {
  for (let i = 0; i < field.length; i++) bytes[at + i] = field[i];
}

/** Whether the bytes at `at` are `field`. */
export function matches(bytes: Uint8Array, at: number, field: Uint8Array): boolean {
  for (let i = 0; i < field.length; i++) if (bytes[at + i] !== field[i]) return false;
  return true;
}
