/**
 * The client's side of a measurement.
 *
 * Layer: programs/lib, under ttcp.
 */

import { type Conn, dial } from "ring9/net";
import { ByteReader } from "./bytes.ts";
import { COOKIE_BYTES, IperfControl, type IperfParams, rateLine, STATE } from "./iperf.ts";
import { resultsOf, Stream, streamId } from "./iperf_streams.ts";
import type { Running } from "./tool.ts";

/** What is measured. */
export interface Measurement {
  port: number;
  /** Whether the server sends. */
  reverse: boolean;
  /** 0: until so many bytes were sent. */
  seconds: number;
  bytes: number;
  streams: number;
  blockBytes: number;
}

const COOKIE_LETTERS = "abcdefghijklmnopqrstuvwxyz234567";

/** Measures, and prints what came of it. */
export async function measure(tool: Running, host: string, asked: Measurement): Promise<void> {
  const address = `tcp!${host}!${asked.port}`, netdir = tool.flags.text("x"), conns: Conn[] = [];
  const open = async () => {
    const conn = await dial(tool.files, address, { netdir });
    conns.push(conn);
    await conn.writeAll(cookie);
    return conn;
  };
  const cookie = newCookie();
  try {
    const first = await open(), control = new IperfControl(first, new ByteReader(first));
    await control.expect(STATE.paramExchange);
    await control.sendJson(paramsOf(asked));
    await control.expect(STATE.createStreams);
    const streams: Stream[] = [];
    for (let i = 0; i < asked.streams; i++) streams.push(new Stream(await open(), streamId(i)));
    await control.expect(STATE.testStart);
    await control.expect(STATE.testRunning);
    await transfer(tool, streams, asked);
    await finish(tool, control, streams, asked);
  } finally {
    await Promise.all(conns.map((conn) => conn.close()));
  }
}

/** What iperf3's client says it is going to do. */
function paramsOf(
  { seconds, bytes, streams, blockBytes, reverse }: Measurement,
): IperfParams & Record<string, unknown> {
  const params = { tcp: true, omit: 0, time: seconds, num: bytes, blockcount: 0, parallel: streams, len: blockBytes };
  return { ...params, ...reverse ? { reverse } : {}, pacing_timer: 1000, client_version: "3.12" };
}

/** Until the time is over, or all has been sent. */
async function transfer({ async }: Running, streams: Stream[], asked: Measurement): Promise<void> {
  const budget = { bytes: asked.bytes || Infinity },
    received = () => streams.reduce((sum, { bytes }) => sum + bytes, 0);
  const all = streams.map((stream) => asked.reverse ? stream.receive() : stream.send(asked.blockBytes, budget));
  const done = Promise.all(all);
  if (asked.seconds > 0) await Promise.race([done, async.sleep(asked.seconds * 1000)]);
  else if (!asked.reverse) await done;
  else for (; received() < asked.bytes; await async.sleep(10));
  done.catch(() => {}); // what fails later is that the test is over
  for (const stream of streams) stream.end();
}

async function finish(tool: Running, control: IperfControl, streams: Stream[], asked: Measurement): Promise<void> {
  await control.sendState(STATE.testEnd);
  await control.expect(STATE.exchangeResults);
  await control.sendJson(resultsOf(streams));
  const { streams: theirs } = await control.results();
  await control.expect(STATE.displayResults);
  const ours = streams.reduce((sum, { bytes }) => sum + bytes, 0),
    seconds = Math.max(...streams.map((each) => each.seconds));
  const others = theirs.reduce((sum, { bytes }) => sum + Number(bytes), 0);
  const otherSeconds = Math.max(...theirs.map((each) => Number(each.end_time) - Number(each.start_time)));
  const [here, there] = asked.reverse ? ["received", "sent"] : ["sent", "received"];
  tool.print(`${here.padEnd(8)} ${rateLine(ours, seconds)}\n${there.padEnd(8)} ${rateLine(others, otherSeconds)}\n`);
  await control.sendState(STATE.done);
}

/** 36 letters and a NUL, as iperf3 makes them. */
function newCookie(): Uint8Array {
  const chance = crypto.getRandomValues(new Uint8Array(COOKIE_BYTES));
  const cookie = chance.map((byte) => COOKIE_LETTERS.charCodeAt(byte & 31));
  cookie[COOKIE_BYTES - 1] = 0;
  return cookie;
}
