/**
 * The server's side of measurements: one at a time; who comes meanwhile is told so.
 *
 * Layer: programs/lib, under ttcp.
 */

import { announce, type Announcement, type Conn } from "ring9/net";
import { Err } from "ring9/proc";
import { ByteReader } from "./bytes.ts";
import { COOKIE_BYTES, IperfControl, type IperfParams, rateLine, STATE } from "./iperf.ts";
import { resultsOf, Stream, streamId } from "./iperf_streams.ts";
import type { Running } from "./tool.ts";

const MAX_STREAMS = 64, DEFAULT_BLOCK_BYTES = 128 * 1024, MAX_BLOCK_BYTES = 1 << 20;

/** Serves measurements for ever, or one. */
export async function serve(tool: Running, { port, once }: { port: number; once: boolean }): Promise<void> {
  await using announced = await announce(tool.files, `tcp!*!${port}`, { netdir: tool.flags.text("x") });
  do {
    const conn = await (await announced.listen()).accept(), test = new Test(tool, announced, conn);
    try {
      tool.print(`${await test.run()}\n`);
    } catch (thrown) {
      tool.print(`the test failed: ${(thrown as Error).message}\n`);
    } finally {
      await test.close();
    }
  } while (!once);
}

/** One measurement. */
class Test {
  readonly #reader: ByteReader;
  readonly #control: IperfControl;
  readonly #streams: Stream[] = [];
  #cookie = "";

  constructor(private readonly tool: Running, private readonly announced: Announcement, private readonly conn: Conn) {
    this.#reader = new ByteReader(conn);
    this.#control = new IperfControl(conn, this.#reader);
  }

  /** Answers the line that is printed of it. */
  async run(): Promise<string> {
    const control = this.#control;
    this.#cookie = cookieText(await this.#reader.exactly(COOKIE_BYTES));
    await control.sendState(STATE.paramExchange);
    const params = checked(await control.json());
    await control.sendState(STATE.createStreams);
    await this.#connect(params.parallel ?? 1);
    await control.sendState(STATE.testStart);
    await control.sendState(STATE.testRunning);
    const block = Math.min(Math.max(params.len ?? DEFAULT_BLOCK_BYTES, 1), MAX_BLOCK_BYTES);
    const transfers = this.#streams.map((stream) =>
      params.reverse ? stream.send(block, { bytes: Infinity }) : stream.receive()
    );
    Promise.all(transfers).catch(() => {}); // what fails later is that the test is over
    await control.expect(STATE.testEnd);
    for (const stream of this.#streams) stream.end();
    await this.#closeStreams(); // iperf3 waits for whole blocks, or this
    return await this.#finish(params);
  }

  /** Waits for the streams; others are refused meanwhile. */
  async #connect(count: number): Promise<void> {
    while (this.#streams.length < count) {
      const conn = await (await this.announced.listen()).accept();
      const cookie = await new ByteReader({ read: (into) => conn.read(into.subarray(0, COOKIE_BYTES)) }).exactly(
        COOKIE_BYTES,
      );
      if (cookieText(cookie) === this.#cookie) this.#streams.push(new Stream(conn, streamId(this.#streams.length)));
      else {
        await conn.writeAll(Uint8Array.of(STATE.accessDenied)).catch(() => {});
        await conn.close();
      }
    }
  }

  async #finish({ reverse }: IperfParams): Promise<string> {
    const control = this.#control, remote = (await this.conn.info()).remote;
    await control.sendState(STATE.exchangeResults);
    await control.results();
    await control.sendJson(resultsOf(this.#streams));
    await control.sendState(STATE.displayResults);
    await control.expect(STATE.done);
    const bytes = this.#streams.reduce((sum, stream) => sum + stream.bytes, 0);
    const seconds = Math.max(...this.#streams.map((stream) => stream.seconds));
    return `${remote} ${reverse ? "sent" : "received"} ${rateLine(bytes, seconds)}`;
  }

  async close(): Promise<void> {
    await Promise.all([this.conn.close().catch(() => {}), this.#closeStreams()]);
  }

  async #closeStreams(): Promise<void> {
    await Promise.all(this.#streams.map((stream) => stream.conn.close().catch(() => {})));
  }
}

/** What is asked for, if it can be had. */
function checked(told: unknown): IperfParams {
  const params = (typeof told === "object" && told !== null ? told : {}) as IperfParams;
  if (params.udp || params.bidirectional) throw new Err("EOPNOTSUPP", "only TCP, in one direction, is measured");
  const { parallel = 1 } = params;
  if (!Number.isInteger(parallel) || parallel < 1 || parallel > MAX_STREAMS) {
    throw new Err("EINVAL", `${parallel} streams`);
  }
  return params;
}

function cookieText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
