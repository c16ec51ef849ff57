/**
 * A segment that came, with its header read into plain fields.
 *
 * Layer: net/tcp, above wire/tcp. One object is used again and again. `parse` is the only place that looks at the header's
 * bytes: everything behind it works with numbers.
 */

import type { Fault } from "../wire/packet.ts";
import { ACK, FIN, RST, SYN, Tcp as TcpView } from "../wire/tcp.ts";
import { TcpOptions } from "../wire/tcp_options.ts";
import type { Arrival } from "./lower.ts";

const NONE = new Uint8Array(0);

/** The segment in hand. Its bytes are borrowed. */
export class Segment {
  bytes: Uint8Array = NONE;
  payloadAt = 0;
  end = 0;
  srcPort = 0;
  dstPort = 0;
  seq = 0;
  ack = 0;
  flags = 0;
  window = 0;
  /** Of IP. */
  ecn = 0;
  /** Payload bytes of each segment that was merged into this one; 0 when it is one. */
  gsoBytes = 0;
  readonly options: TcpOptions = new TcpOptions();
  readonly #view = new TcpView();

  get syn(): boolean {
    return (this.flags & SYN) !== 0;
  }
  get fin(): boolean {
    return (this.flags & FIN) !== 0;
  }
  get rst(): boolean {
    return (this.flags & RST) !== 0;
  }
  get hasAck(): boolean {
    return (this.flags & ACK) !== 0;
  }
  /** Payload bytes. */
  get count(): number {
    return this.end - this.payloadAt;
  }
  /** Sequence numbers that it takes. */
  get seqCount(): number {
    return this.end - this.payloadAt + (this.flags >>> 1 & 1) + (this.flags & FIN);
  }

  /** Reads the segment at bytes [at, end); a wrong checksum is the fault `field`. */
  parse(bytes: Uint8Array, at: number, end: number, arrival: Arrival): Fault | undefined {
    const view = this.#view, fault = view.parse(bytes, at, end);
    if (fault !== undefined) return fault;
    if (!arrival.checksumGood && !view.checksumOk(arrival.pseudoSum)) return "field";
    this.bytes = bytes;
    this.payloadAt = view.payloadAt;
    this.end = end;
    this.srcPort = view.srcPort;
    this.dstPort = view.dstPort;
    this.seq = view.seq;
    this.ack = view.ack;
    this.flags = view.flags;
    this.window = view.window;
    this.ecn = arrival.ecn;
    this.gsoBytes = arrival.gsoBytes;
    // An option that runs out of the header ends them: what stood before it counts (RFC 9293, 3.1).
    this.options.parse(bytes, view.optionsAt, this.payloadAt);
    return undefined;
  }
}
