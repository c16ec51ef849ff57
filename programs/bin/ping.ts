/**
 * ping: asks a host for echoes, and tells how long they took. The manual page is man/ping.md.
 *
 * Layer: programs, over /net/icmp and /net/icmpv6.
 */

import { type Conn, dial, type NetFiles, parseIp } from "ring9/net";
import { echoRequest, type Heard, hearIcmp } from "../lib/icmp.ts";
import { defineTool, onInterrupt, type Running } from "../lib/tool.ts";

const DEFAULT_BYTES = 56, MAX_BYTES = 65_000, ROOM_BYTES = 65_536;

export default defineTool({
  usage: "ping [-6q] [-n count] [-i ms] [-w ms] [-s bytes] [-x netdir] host",
  flags: "6qn:i:w:s:x:",
  words: [1, 1],
  async run(tool) {
    const { flags, words: [host] } = tool;
    const most = { least: 1, most: Number.MAX_SAFE_INTEGER };
    const count = flags.number("n", { otherwise: Infinity, ...most });
    const everyMs = flags.number("i", { otherwise: 1000, least: 1, most: 3_600_000 });
    const waitMs = flags.number("w", { otherwise: 1000, least: 1, most: 3_600_000 });
    const bytes = flags.number("s", { otherwise: DEFAULT_BYTES, least: 0, most: MAX_BYTES });
    const conn = await dialIcmp(tool.files, host, flags.has("6"), flags.text("x"));
    const echoes = new Echoes(tool, conn, bytes);
    tool.print(`ping ${host} (${(await conn.info()).remote.split("!")[0]}): ${bytes} bytes\n`);
    onInterrupt(tool, () => echoes.summary());
    void echoes.receive().catch((thrown) => tool.exit(thrown.message)); // it ends with the program, and the conversation too
    await echoes.send(count, everyMs, waitMs);
    return echoes.summary();
  },
});

/** The host by IPv4, or by IPv6 if it has no such address. */
async function dialIcmp(files: NetFiles, host: string, only6: boolean, netdir?: string): Promise<Conn> {
  const dialIt = (proto: string) => dial(files, `${proto}!${host}`, { netdir });
  if (only6 || parseIp(host) && host.includes(":")) return await dialIt("icmpv6");
  try {
    return await dialIt("icmp");
  } catch (thrown) {
    return await dialIt("icmpv6").catch(() => Promise.reject(thrown));
  }
}

/** Requests that were sent, and what came of them. */
class Echoes {
  readonly #v4: boolean;
  readonly #sentAt = new Map<number, number>();
  readonly #tripsMs: number[] = [];
  #sent = 0;
  #duplicates = 0;
  #allSent = false;
  #last = Promise.withResolvers<void>();

  constructor(private readonly tool: Running, private readonly conn: Conn, private readonly bytes: number) {
    this.#v4 = conn.dir.split("/").at(-2) === "icmp";
  }

  /** Sends a request at a time, then waits for what is missing. */
  async send(count: number, everyMs: number, waitMs: number): Promise<void> {
    for (; this.#sent < count; await this.tool.async.sleep(everyMs)) {
      const seq = this.#sent++ & 0xffff;
      this.#sentAt.set(seq, performance.now());
      try {
        await this.conn.write(echoRequest(this.#v4, seq, this.bytes));
      } catch (thrown) {
        this.tool.print(`seq ${seq}: ${(thrown as Error).message}\n`);
      }
      if (this.#sent === count) break;
    }
    this.#allSent = true;
    if (this.#sentAt.size > 0) await Promise.race([this.#last.promise, this.tool.async.sleep(waitMs)]);
  }

  async receive(): Promise<void> {
    const room = new Uint8Array(ROOM_BYTES);
    for (let count; (count = await this.conn.read(room)) > 0;) {
      const heard = hearIcmp(room.subarray(0, count), this.#v4);
      if (heard) this.#take(heard);
    }
  }

  #take({ seq, from, bytes, ttl, trouble }: Heard): void {
    const sentAt = this.#sentAt.get(seq), quiet = this.tool.flags.has("q");
    if (trouble !== undefined) return void (quiet || this.tool.print(`seq ${seq}: ${trouble} from ${from}\n`));
    if (sentAt === undefined) {
      this.#duplicates++;
      return;
    }
    const tripMs = performance.now() - sentAt;
    this.#sentAt.delete(seq);
    this.#tripsMs.push(tripMs);
    if (!quiet) this.tool.print(`${bytes} bytes from ${from}: seq ${seq} ttl ${ttl} time ${tripMs.toFixed(3)} ms\n`);
    if (this.#allSent && this.#sentAt.size === 0) this.#last.resolve();
  }

  /** Prints the figures; the status is empty when there was an answer. */
  summary(): string {
    const trips = this.#tripsMs, sent = this.#sent, lost = sent - trips.length;
    const extra = this.#duplicates > 0 ? `, ${this.#duplicates} duplicates` : "";
    this.tool.print(
      `${sent} sent, ${trips.length} received${extra}, ${sent ? Math.round(lost / sent * 100) : 0} % lost\n`,
    );
    if (trips.length === 0) return "no answer";
    const mean = trips.reduce((a, b) => a + b) / trips.length;
    const spread = Math.sqrt(trips.reduce((sum, each) => sum + (each - mean) ** 2, 0) / trips.length);
    const figures = [Math.min(...trips), mean, Math.max(...trips), spread].map((each) => each.toFixed(3));
    this.tool.print(`round trip min/avg/max/mdev ${figures.join("/")} ms\n`);
    return "";
  }
}
