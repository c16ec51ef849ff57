/**
 * Errors of Deno's sockets and files as Errs.
 *
 * Layer: core/host, a leaf; transports and devices use it.
 */

import { type Code, Err, toErr } from "../err.ts";

/** Deno's errors of connections, by our codes. */
const HOST_ERRORS: [new (...args: never[]) => Error, Code][] = [
  [Deno.errors.ConnectionRefused, "ECONNREFUSED"],
  [Deno.errors.ConnectionReset, "ECONNRESET"],
  [Deno.errors.ConnectionAborted, "ECONNABORTED"],
  [Deno.errors.NotConnected, "ENOTCONN"],
  [Deno.errors.BrokenPipe, "EPIPE"],
  [Deno.errors.AddrInUse, "EADDRINUSE"],
  [Deno.errors.AddrNotAvailable, "EADDRNOTAVAIL"],
  [Deno.errors.NetworkUnreachable, "ENETUNREACH"],
  [Deno.errors.NotFound, "ENOENT"],
  [Deno.errors.PermissionDenied, "EACCES"],
  [Deno.errors.NotCapable, "EPERM"],
  [Deno.errors.TimedOut, "ETIMEDOUT"],
  [Deno.errors.Interrupted, "EINTR"],
];

/** An error of the host as an `Err`, its text kept. */
export function hostError(e: unknown): Err {
  const known = HOST_ERRORS.find(([type]) => e instanceof type);
  if (!known) return toErr(e);
  return new Err(known[1], (e as Error).message.replace(/ \(os error \d+\)/, ""), { cause: e });
}
