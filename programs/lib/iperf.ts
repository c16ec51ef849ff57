/**
 * iperf3's protocol: the states that both sides tell each other, and the messages between them.
 *
 * Layer: programs/lib, under ttcp. On a control connection the client sends a cookie of 37 bytes; then single bytes tell the
 * state, and in some of them JSON passes, its length (4 bytes, big-endian) in front. Each stream is a connection of its own that
 * begins with the same cookie.
 */

import type { Conn } from "ring9/net";
import { Err } from "ring9/proc";
import type { ByteReader } from "./bytes.ts";

/** The states, a signed byte each. */
export const STATE = {
  testStart: 1,
  testRunning: 2,
  testEnd: 4,
  paramExchange: 9,
  createStreams: 10,
  serverTerminate: 11,
  clientTerminate: 12,
  exchangeResults: 13,
  displayResults: 14,
  done: 16,
  accessDenied: -1,
  serverError: -2,
} as const;

export const COOKIE_BYTES = 37;
const MAX_JSON_BYTES = 1 << 20;

/** What the client asks for; more than this is passed over. */
export interface IperfParams {
  tcp?: boolean;
  udp?: boolean;
  omit?: number;
  /** Seconds; 0: until `num` bytes. */
  time?: number;
  num?: number;
  parallel?: number;
  reverse?: boolean;
  bidirectional?: boolean;
  len?: number;
}

/** What one side has seen of a stream. */
export interface IperfStream {
  id: number;
  bytes: number;
  retransmits: number;
  jitter: number;
  errors: number;
  packets: number;
  start_time: number;
  end_time: number;
}

/** What one side tells at the end. */
export interface IperfResults {
  cpu_util_total: number;
  cpu_util_user: number;
  cpu_util_system: number;
  sender_has_retransmits: number;
  streams: IperfStream[];
}

/** A control connection. */
export class IperfControl {
  constructor(readonly conn: Conn, private readonly reader: ByteReader) {}

  async sendState(state: number): Promise<void> {
    await this.conn.writeAll(Uint8Array.of(state));
  }

  /** The next state. Throws when the other side has given up. */
  async state(): Promise<number> {
    const state = (await this.reader.exactly(1))[0] << 24 >> 24;
    if (state === STATE.accessDenied) throw new Err("EBUSY", "the server is busy with another test");
    if (state === STATE.serverError) throw new Err("EIO", "the server failed");
    if (state === STATE.serverTerminate || state === STATE.clientTerminate) {
      throw new Err("ECONNABORTED", "the other side ended the test");
    }
    return state;
  }

  async expect(state: number): Promise<void> {
    const got = await this.state();
    if (got !== state) throw new Err("EPROTO", `state ${got} where ${state} was due`);
  }

  async sendJson(value: unknown): Promise<void> {
    const text = new TextEncoder().encode(JSON.stringify(value)), message = new Uint8Array(4 + text.length);
    new DataView(message.buffer).setUint32(0, text.length);
    message.set(text, 4);
    await this.conn.writeAll(message);
  }

  async json(): Promise<unknown> {
    const length = new DataView((await this.reader.exactly(4)).buffer).getUint32(0);
    if (length > MAX_JSON_BYTES) throw new Err("EPROTO", `a message of ${length} bytes`);
    try {
      return JSON.parse(new TextDecoder().decode(await this.reader.exactly(length)));
    } catch (thrown) {
      if (!(thrown instanceof SyntaxError)) throw thrown;
      throw new Err("EPROTO", "not JSON");
    }
  }

  /** The other side's results, as far as they make sense. */
  async results(): Promise<IperfResults> {
    const told = await this.json() as Partial<IperfResults> | null;
    if (!Array.isArray(told?.streams)) throw new Err("EPROTO", "no results");
    return told as IperfResults;
  }
}

/** One line of figures: `12.5 GBytes in 10.00 s, 10.7 Gbit/s`. */
export function rateLine(bytes: number, seconds: number): string {
  const bits = bytes * 8 / Math.max(seconds, 1e-9);
  return `${scaled(bytes, 1024)}Bytes in ${seconds.toFixed(2)} s, ${scaled(bits, 1000)}bit/s`;
}

function scaled(value: number, step: number): string {
  const units = ["", "K", "M", "G", "T"];
  let unit = 0;
  for (; value >= step && unit < units.length - 1; unit++) value /= step;
  return `${value.toPrecision(4)} ${units[unit]}`;
}
