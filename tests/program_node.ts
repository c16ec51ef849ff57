/**
 * A node for tests and benchmarks of programs: boots an image, then takes orders as lines of JSON on standard input, and
 * answers each with a line. This file is both the main thread and, as a worker, the kernel isolate.
 */

import { fileURLToPath } from "node:url";
import { Shell } from "../cmd/sh.ts";
import { toErr } from "../core/err.ts";
import { ORDWR } from "../core/p9/types.ts";
import type { Proc } from "../core/proc.ts";
import { Node } from "../core/host/node.ts";
import { Warden } from "../core/host/spawn.ts";
import { threads } from "../core/host/threads.ts";
import { runWarden } from "../core/host/warden.ts";

/** What is ordered. */
export type Order =
  | { op: "write"; path: string; text: string }
  | { op: "run"; path: string; args?: string[]; cpu?: number; until?: string; then?: string; input?: string }
  | { op: "sh"; lines: string[] }
  | { op: "load"; plugin: string }
  | { op: "ctl"; path: string; text: string }
  | { op: "read"; path: string }
  | { op: "listen"; address: string }
  | { op: "threads" }
  | { op: "bye" };

/** How a program ended. */
export interface Ran {
  status: string;
  output: string;
}

/** What the URL of this file ends with in the kernel isolate. */
const KERNEL = "?kernel";
/** Files of the kernel's procs that ran programs, to number their output. */
let runs = 0;

if (import.meta.url.endsWith(KERNEL)) await kernel();
else await runWarden(new URL(KERNEL, import.meta.url), null);

async function kernel(): Promise<void> {
  const warden = await Warden.connect();
  const project = new URL("../", import.meta.url).href;
  const events = { image() {}, plugin() {}, namespace() {}, listening() {} };
  const options = { cons: { terminal: "none" }, host: { root: fileURLToPath(project) } };
  const node = await Node.boot({ project, image: "default", listen: [], options }, warden, events);
  let rest = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) void answer(node, warden, JSON.parse(line));
  }
  await warden.exit(0);
}

async function answer(node: Node, warden: Warden, order: Order & { n: number }): Promise<void> {
  let said: unknown;
  try {
    said = { n: order.n, ok: await obey(node, warden, order) ?? null };
  } catch (e) {
    said = { n: order.n, error: toErr(e).message, code: toErr(e).code };
  }
  console.log(JSON.stringify(said));
}

async function obey(node: Node, warden: Warden, order: Order): Promise<unknown> {
  const { init } = node;
  switch (order.op) {
    case "write": {
      const fd = await init.create(order.path);
      await init.writeAll(fd, new TextEncoder().encode(order.text));
      return await init.close(fd);
    }
    case "run":
      return await run(node, order);
    case "sh":
      return await shell(node, order.lines);
    case "load":
      return await init.writeText("/sys/plugins/ctl", `load ${order.plugin}`);
    case "ctl":
      return await init.writeText(order.path, order.text);
    case "read":
      return await init.readText(order.path);
    case "listen":
      return await node.listen(order.address);
    case "threads":
      return threads().length;
    case "bye":
      await node.close();
      return await warden.exit(0);
  }
}

/** Runs a program to its end; once its output holds `until`, `then` is written to its ctl. */
async function run(node: Node, { path, args, cpu, until, then, input = "" }: Order & { op: "run" }): Promise<Ran> {
  const proc = node.init.spawn({ name: "sh", fds: "empty" }), out = `/tmp/out${++runs}`;
  await feed(proc, input);
  await proc.create(out, ORDWR);
  await proc.dup(1);
  const child = await node.programs.spawn(proc, path, { args, cpu });
  const ended = proc.wait();
  if (until !== undefined) {
    while (!(await proc.readText(out)).includes(until)) await new Promise((resolve) => setTimeout(resolve, 2));
    await node.init.writeText(`/proc/${child.pid}/ctl`, then!);
  }
  const { status } = await ended, output = await proc.readText(out);
  await proc.exit();
  return { status, output };
}

/** Types lines into a shell; answers what it and its programs print. */
async function shell(node: Node, lines: string[]): Promise<string> {
  const proc = node.init.spawn({ name: "sh", fds: "empty", env: "copy" }), out = `/tmp/out${++runs}`;
  await feed(proc, "");
  await proc.create(out, ORDWR);
  await proc.dup(1);
  const sh = new Shell(proc, node.programs);
  for (const line of lines) await sh.runLine(line);
  const printed = await proc.readText(out);
  await proc.exit();
  return printed;
}

/** Its file 0: one end of a pipe with the input in it, which stays open. */
async function feed(proc: Proc, input: string): Promise<void> {
  const [reader, writer] = await proc.pipe();
  if (reader !== 0) throw new Error(`file ${reader} is not 0`);
  if (input !== "") await proc.write(writer, input);
  proc.fgrp.add(proc.fgrp.get(writer).hold(), 9);
  await proc.close(writer);
}
