/**
 * The texts of a proc's files.
 *
 * Layer: part of the proc plugin. Fields stand in the order of proc(3) of Plan 9 and have its widths; what a proc here has
 * no measure of, as CPU time, is 0.
 */

import { quote } from "../../core/path.ts";
import type { Proc, WaitRecord } from "../../core/proc.ts";

/** Name, user, state; user, system and real time, the same of its children, ms; memory; base and real priority. */
export function statusText(proc: Proc): string {
  const real = Math.floor(proc.host.monotonic() - proc.startMs);
  const numbers = [0, 0, real, 0, 0, 0, 0, 10, 10].map((n) => String(n).padStart(11)).join(" ");
  return `${field(proc.name, 27)} ${field(proc.user.name, 27)} ${field(proc.state, 11)} ${numbers} \n`;
}

/** The current directory, then a line an open file: number, mode, Dev, qid, offset, name. */
export function fdText(proc: Proc): string {
  const lines = proc.fgrp.entries().map(([fd, file]) => file.line(fd));
  return `${quote(proc.cwd)}\n${lines.join("")}`;
}

/** A counter a line. */
export function statsText(proc: Proc): string {
  const stats = { ...proc.counters, inflight: proc.inFlight, fds: proc.fgrp.entries().length };
  return Object.entries(stats).map(([name, count]) => `${name.toLowerCase()} ${count}\n`).join("");
}

/** Number, user, system and real time in ms, and the status, as wait(2) parses it. */
export function waitText({ pid, realMs, status }: WaitRecord): string {
  return `${pid} 0 0 ${Math.floor(realMs)} ${quote(status)}\n`;
}

function field(text: string, width: number): string {
  return text.replace(/\s/g, "_").slice(0, width).padEnd(width);
}
