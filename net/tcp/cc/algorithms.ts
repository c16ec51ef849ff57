/**
 * The algorithms by name, and how one is saved and restored.
 *
 * Layer: net/tcp/cc, its front door for the engine.
 */

import { Bbr } from "./bbr.ts";
import type { CcName, CcOptions, CongestionControl } from "./cc.ts";
import { Cubic } from "./cubic.ts";
import { NewReno } from "./newreno.ts";
import { restore, type Saved } from "./state.ts";

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

/** One that goes on from what `save(cc)` gave; with a name that is unknown here, a fresh default one. */
export function restoreCc(saved: Saved, options: CcOptions): CongestionControl {
  const name = saved.name;
  if (typeof name !== "string" || !isCcName(name)) return createCc(DEFAULT_CC, options);
  const cc = createCc(name, options);
  restore(cc, saved);
  return cc;
}
