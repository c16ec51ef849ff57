/**
 * Lanes: lets a program read and write an open file of an isolate's plugin past the kernel.
 *
 * Layer: core/host, in the kernel isolate; core/proc_lane.ts has the two ends. A lane is a pair of rings of the matrix between the
 * program's isolate and the plugin's, made when the program first uses a file there. For each open file the plugin is
 * asked to grant the fid; once it has, the program is told, with the answer to its next read or write.
 */

import type { Dev } from "../dev.ts";
import type { OpenFile } from "../fgrp.ts";
import { Mnt } from "../mnt.ts";
import type { MntFile } from "../mnt_file.ts";
import { NOFID, QTDIR } from "../p9/types.ts";
import { LANE_PLACES, LANE_RING_BYTES } from "../proc_lane.ts";
import type { Way } from "../proc_service.ts";
import type { RingMatrix } from "../ring/matrix.ts";
import type { Isolate } from "./isolate.ts";

/** What the remote of a transport to an isolate begins with; its row in the matrix follows. */
const RING = "ring!";

let lastLane = 0;

/** Where plugins' isolates are found. */
export interface LaneHost {
  readonly rings: RingMatrix;
  isolate(row: string): Isolate | undefined;
}

/** A lane to one plugin's isolate. */
interface Lane {
  readonly number: number;
  readonly plugin: Isolate;
  readonly places: Float64Array;
  /** Files by the place of their offset. */
  readonly files: OpenFile[];
}

/** The lanes of one program. */
export class Lanes {
  readonly #host: LaneHost;
  readonly #program: Isolate;
  readonly #lanes = new Map<string, Lane>();
  /** What has become of the files that were asked about: a way, or null while it is awaited or was refused. */
  readonly #ways = new WeakMap<OpenFile, Way | null>();

  constructor(host: LaneHost, program: Isolate) {
    this.#host = host;
    this.#program = program;
  }

  /** The way to an open file, if there is one by now; begins to make one. */
  direct(file: OpenFile): Way | undefined {
    const known = this.#ways.get(file);
    if (known === undefined) {
      this.#ways.set(file, null);
      void this.#make(file);
    }
    return known ?? undefined;
  }

  async #make(file: OpenFile): Promise<void> {
    const chan = file.chan.aux, dev: Dev = chan.dev;
    if (!(dev instanceof Mnt) || file.chan.union || chan.qid.type & QTDIR) return;
    const fid = (chan.aux as MntFile).fid, { remote } = dev.client;
    const plugin = remote.startsWith(RING) ? this.#host.isolate(remote.slice(RING.length)) : undefined;
    if (!plugin || fid === NOFID) return;
    const lane = this.#lane(plugin), place = this.#place(lane, file);
    if (place < 0 || !await plugin.grant(lane.number, fid) || file.closed) return;
    file.placeAt(lane.places, place);
    this.#ways.set(file, { lane: lane.number, fid, place });
  }

  #lane(plugin: Isolate): Lane {
    const known = this.#lanes.get(plugin.row);
    if (known) return known;
    const number = ++lastLane, places = new SharedArrayBuffer(8 * LANE_PLACES);
    const [ours, theirs] = this.#host.rings.connect(this.#program.row, plugin.row, { bytes: LANE_RING_BYTES });
    plugin.serveLane(number, theirs);
    this.#program.tellLane({ lane: number, port: ours, places });
    const lane = { number, plugin, places: new Float64Array(places), files: [] };
    this.#lanes.set(plugin.row, lane);
    return lane;
  }

  /** A place for the offset of a file: that of one which is closed, or a new one; -1 when there is none. */
  #place(lane: Lane, file: OpenFile): number {
    const free = lane.files.findIndex((other) => other.closed);
    const place = free >= 0 ? free : lane.files.length;
    if (place >= LANE_PLACES) return -1;
    lane.files[place] = file;
    return place;
  }
}
