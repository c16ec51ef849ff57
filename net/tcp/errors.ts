/**
 * Why connections end by what the network does. Each is made once: an Error that records where it was made costs more than
 * all else of a connection that is reset.
 *
 * Layer: net/tcp, a leaf. They are shared, so nobody changes them.
 */

import { Err } from "../../core/err.ts";

export const RESET = new Err("ECONNRESET");
export const REFUSED = new Err("ECONNREFUSED");
export const TIMED_OUT = new Err("ETIMEDOUT");
