/**
 * Domain names: text to wire and back, with compression read within bounds.
 *
 * Layer: net/dns, a leaf. As text a name has no dot at its end, and the root is ""; a byte that is no letter, digit, hyphen
 * or underscore is written as in zone files: `\.`, `\\`, `\032`. Names are compared without regard to ASCII case.
 *
 * See RFC 1035, 3.1 and 4.1.4; RFC 4343 (case); RFC 2181, 11 (any byte may be in a label).
 */

/** Bytes of a name on the wire, and of one label, at the most. */
export const MAX_NAME_BYTES = 255, MAX_LABEL_BYTES = 63;

/** Compression pointers that are followed for one name. */
const MAX_POINTERS = 32;

/** A name that was read, and where what comes after it begins. */
export interface DecodedName {
  text: string;
  end: number;
}

/**
 * The name at `at` of a message that is bytes [start, end); undefined when it is not whole, too long, or points anywhere but
 * backwards.
 */
export function decodeName(bytes: Uint8Array, at: number, end: number, start = 0): DecodedName | undefined {
  let text = "", length = 1, after = -1, pointers = 0, lowest = at;
  for (;;) {
    if (at >= end) return undefined;
    const size = bytes[at];
    if (size === 0) return { text, end: after < 0 ? at + 1 : after };
    if ((size & 0xc0) === 0xc0) {
      if (at + 2 > end || ++pointers > MAX_POINTERS) return undefined;
      if (after < 0) after = at + 2;
      at = start + ((size & 0x3f) << 8 | bytes[at + 1]);
      // Each jump goes further back than anything read so far, so there is no loop.
      if (at >= lowest) return undefined;
      lowest = at;
      continue;
    }
    length += size + 1;
    if (size > MAX_LABEL_BYTES || at + 1 + size > end || length > MAX_NAME_BYTES) return undefined;
    text += (text === "" ? "" : ".") + labelText(bytes, at + 1, size);
    at += 1 + size;
  }
}

function labelText(bytes: Uint8Array, at: number, size: number): string {
  let text = "";
  for (let i = at; i < at + size; i++) {
    const char = String.fromCharCode(bytes[i]);
    if (/[.\\"();@$]/.test(char)) text += "\\" + char;
    else if (bytes[i] > 0x20 && bytes[i] < 0x7f) text += char;
    else text += "\\" + String(bytes[i]).padStart(3, "0");
  }
  return text;
}

/** The labels of a name as bytes; undefined when it is none. One dot at the end is allowed. */
export function parseName(text: string): Uint8Array[] | undefined {
  if (text === "" || text === ".") return [];
  const labels: number[][] = [[]];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x2e) {
      labels.push([]);
      continue;
    }
    if (code > 0x7e) return undefined;
    if (code !== 0x5c) {
      labels.at(-1)!.push(code);
      continue;
    }
    const digits = /^\d{3}/.exec(text.slice(i + 1))?.[0], value = digits ? Number(digits) : text.charCodeAt(i + 1);
    if (!(value <= 0xff)) return undefined;
    labels.at(-1)!.push(value);
    i += digits ? 3 : 1;
  }
  if (labels.at(-1)!.length === 0) labels.pop();
  const bytes = labels.reduce((sum, label) => sum + 1 + label.length, 1);
  if (bytes > MAX_NAME_BYTES || labels.some((label) => label.length === 0 || label.length > MAX_LABEL_BYTES)) {
    return undefined;
  }
  return labels.map((label) => Uint8Array.from(label));
}

/** The one way to write a name: escapes only where they are needed, no dot at the end; undefined when it is none. */
export function normalName(text: string): string | undefined {
  return parseName(text)?.map((label) => labelText(label, 0, label.length)).join(".");
}

/** Whether a name ends in a dot that is no escaped one: it is then complete. */
export function isAbsolute(text: string): boolean {
  return text.endsWith(".") && !text.endsWith("\\.");
}

/** Names as they are compared: lower case, no dot at the end. */
export function canonicalName(text: string): string {
  return (isAbsolute(text) ? text.slice(0, -1) : text).replace(/[A-Z]/g, (char) => char.toLowerCase());
}

export function sameName(a: string, b: string): boolean {
  return canonicalName(a) === canonicalName(b);
}

/** The name that asks for an address's name: `4.3.2.1.in-addr.arpa`, or nibbles under `ip6.arpa`. */
export function reverseName(ip: Uint8Array): string {
  const v4 = ip.length === 16 && ip.subarray(0, 10).every((byte) => byte === 0) && ip[10] === 0xff && ip[11] === 0xff;
  if (v4) return [...ip.subarray(12)].reverse().join(".") + ".in-addr.arpa";
  const nibbles = Array.from(ip, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [...nibbles].reverse().join(".") + ".ip6.arpa";
}
