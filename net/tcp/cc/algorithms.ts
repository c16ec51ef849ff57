/**
 * The algorithms by name.
 *
 * Layer: net/tcp/cc, its front door for the engine.
 */

import { Bbr } from "./bbr.ts";
import type { CcName, CcOptions, CongestionControl } from "./cc.ts";
import { Cubic } from "./cubic.ts";
import { NewReno } from "./newreno.ts";

const ALGORITHMS: Record<CcName, new (options: CcOptions) => CongestionControl> = {
  bbr: Bbr,
  cubic: Cubic,
  reno: NewReno,
};

/** What a connection uses that asks for nothing. */
export const DEFAULT_CC: CcName = "bbr";

/** All names, the default first. */
export const CC_NAMES = Object.keys(ALGORITHMS) as readonly CcName[];

/** Whether there is such an algorithm. */
export function isCcName(name: string): name is CcName {
  return Object.hasOwn(ALGORITHMS, name);
}

/** A new algorithm for a new connection (or one that changes its algorithm in mid-flight). */
export function createCc(name: CcName, options: CcOptions): CongestionControl {
  return new ALGORITHMS[name](options);
}
