/**
 * The log file of /net: what the stack tells of itself, by items that are set and cleared.
 *
 * Layer: plugins/ip. `set ip arp`, `clear ip`, `only ADDRESS` are written; reading waits for the next line. What holds
 * always: it is bounded, and nothing is kept of items that are not set.
 *
 * See ip(3) of Plan 9 (log).
 */

import type { Clock } from "../../core/clock.ts";
import { Err } from "../../core/err.ts";
import { event, type EventFile } from "../../core/tree_event.ts";
import { parseIp } from "../../net/addr.ts";
import { quote } from "./command.ts";

/** Items that are told apart; the others of Plan 9 are taken, and have nothing to tell. */
const ITEMS = ["ip", "arp", "icmp", "udp", "tcp"] as const;
const SILENT = ["ppp", "fs", "il", "compress", "ilmsg", "gre", "tcpwin", "tcprxmt", "tcpall", "udpmsg", "ipmsg", "esp"];

/** See the head of this file. */
export class NetLog {
  readonly file: EventFile;
  readonly #set = new Set<string>();
  readonly #clock: Clock;
  /** Only lines that name this address. */
  #only = "";

  constructor(clock: Clock) {
    this.#clock = clock;
    this.file = event({
      mode: 0o664,
      message: (text) => this.#command(text),
      lost: (count) => `${count} lines were lost\n`,
    });
  }

  /** Tells of something. */
  note(item: (typeof ITEMS)[number], text: string): void {
    if (!this.#set.has(item) || this.#only !== "" && !text.includes(this.#only)) return;
    const ms = this.#clock.monotonic(), sec = Math.floor(ms / 1000);
    this.file.post(`[${sec}.${String(Math.floor(ms % 1000)).padStart(3, "0")}] ${item}: ${text}\n`);
  }

  #command(text: string): void {
    const [verb, ...words] = text.trim().split(/\s+/);
    if (verb === "only") {
      if (words.length > 1 || words.length === 1 && parseIp(words[0]) === undefined) {
        throw new Err("EINVAL", "usage: only [address]");
      }
      this.#only = words[0] ?? "";
      return;
    }
    const items = words.flatMap((word) => word.split(","));
    const known: readonly string[] = [...ITEMS, ...SILENT], bad = items.find((item) => !known.includes(item));
    if (verb !== "set" && verb !== "clear" || items.length === 0 || bad !== undefined) {
      throw new Err(
        "EINVAL",
        `${bad === undefined ? "" : `${quote(bad)} is no item; `}usage: set|clear ${
          ITEMS.join("|")
        } ..., only [address]`,
      );
    }
    for (const item of items) verb === "set" ? this.#set.add(item) : this.#set.delete(item);
  }
}
