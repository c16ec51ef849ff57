/**
 * Link, FrameSink, Port: how frames leave and arrive, and what is known of a frame beside its bytes. Contract between
 * devices/ and net/.
 *
 * Layer: a leaf of the core, types and constants only. A device is a Port: a Link, for who sends, and the frames that
 * arrive, for the sink that is attached. It is also what the table of queues (queues.ts) hands to who claims it.
 *
 * What holds always:
 * - Bytes that arrive are borrowed: they are overwritten once `frame` has returned.
 * - A sink is never called from inside of a call to its Port, so that two stacks on one cable do not nest.
 * - A frame is built in place: `begin`, write at `frame[frameAt...]`, `end`; between the two nothing else is sent on the link.
 * - `end` queues; `flush` hands the queue to the device, once a batch.
 *
 * The fields of FrameInfo are those of virtio's net header (virtio 1.2, 5.1.6), whose values `gso` has.
 */

/** Who is to sum up a frame's transport checksum. */
export const CHECKSUM = {
  /** In the frame, to be checked by who cares. */
  present: 0,
  /** Checked by the device, or made by a peer on this machine: not to be checked again. */
  good: 1,
  /**
   * The field holds the pseudo-header's sum only: the rest is added from `checksumStart` on by who sends it on a wire.
   */
  partial: 2,
} as const;

/** How a frame larger than the MTU is to be cut. */
export const GSO = { none: 0, tcp4: 1, tcp6: 4, udp: 5 } as const;

/** What is known of a frame beside its bytes. One object is used again and again: copy what is kept. */
export interface FrameInfo {
  /** One of CHECKSUM. */
  checksum: number;
  /**
   * With CHECKSUM.partial: where summing starts, and where from there the field is; bytes from the start of the frame.
   */
  checksumStart: number;
  checksumOffset: number;
  /** One of GSO. */
  gso: number;
  /** Payload bytes of each segment that the frame stands for; 0 without GSO. */
  gsoBytes: number;
  /** Bytes of all headers, those of the link included; with GSO only. */
  headerBytes: number;
}

/** What a frame without offload is sent and received with. */
export const PLAIN: Readonly<FrameInfo> = Object.freeze({
  checksum: CHECKSUM.present,
  checksumStart: 0,
  checksumOffset: 0,
  gso: GSO.none,
  gsoBytes: 0,
  headerBytes: 0,
});

/** A way for frames to leave. */
export interface Link {
  /** `ether0`, `loopback`. */
  readonly name: string;
  /** Whether frames have Ethernet headers, or begin with IP (loopback, tun). */
  readonly medium: "ether" | "ip";
  /** Six bytes; zeros where there are no Ethernet headers. */
  readonly mac: Uint8Array;
  /** Largest IP packet, bytes. */
  readonly mtu: number;
  /** Whether it adds up CHECKSUM.partial itself. */
  readonly checksumOffload: boolean;
  /** Largest IP packet that it cuts into segments itself, by GSO.tcp4 and tcp6; 0 when it cuts none. */
  readonly gsoMaxBytes: number;

  /**
   * Makes room for a frame of at most `bytes`; false when the queue is full: then `onRoom` is called when it no longer
   * is.
   */
  begin(bytes: number): boolean;
  /** Where the frame that was begun is to be written. May be another array after each `begin`. */
  readonly frame: Uint8Array;
  readonly frameAt: number;
  /** Queues the frame that was begun, `bytes` long. */
  end(bytes: number, info: FrameInfo): void;
  /** Takes back a `begin`. */
  cancel(): void;
  /** Hands what is queued to the device. */
  flush(): void;
  /** Called when a full queue has room again. Set by the stack. */
  onRoom: () => void;
}

/** Who takes what arrives: `begin`, frames, `end`. */
export interface FrameSink {
  /** Frames follow: the time to read the clock. */
  begin(): void;
  /** One frame: bytes [at, end), borrowed until this returns, as is `info`. */
  frame(bytes: Uint8Array, at: number, end: number, info: FrameInfo): void;
  /** That was all there is for now: the time to answer what came, and to flush. */
  end(): void;
}

/** A device, or a queue of one: a Link and its other direction. */
export interface Port extends Link {
  /** What it is: `tap`, `packet`, `switch`, `loopback`. */
  readonly kind: string;
  /** Gives what arrives to `sink` from now on; null: nobody wants it, and it is dropped. */
  attach(sink: FrameSink | null): void;
  /** Counters by name, since it was made: at least inPackets, inBytes, outPackets, outBytes, inDrops, outDrops. */
  counters(): Record<string, number>;
  /** Lets go of the device, at once or soon. May be called twice; what is sent from then on is dropped. */
  close(): void | Promise<void>;
}
