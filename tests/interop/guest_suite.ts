/**
 * suite.sh in a guest, check by check as steps of a test.
 *
 * Layer: tests/interop.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { noteSkipped } from "../skip.ts";
import { type GuestResult, runGuest } from "./guest.ts";
import { RawClient } from "./raw9p.ts";
import type { TestServer } from "./servers.ts";

const SCRIPTS = fileURLToPath(new URL("./guest", import.meta.url));

/** What of the suite is run. */
export interface Suite {
  dialects: string;
  caches: string;
  msize: number;
  fsxOperations: number;
  native: boolean;
  /** Functions of checks.sh that the server has no means for. */
  lacks: string;
}

/** One line of the suite's report with what it said. */
interface Check {
  name: string;
  outcome: "ok" | "not ok" | "skip";
  detail: string;
}

/** Runs the suite against a server. */
export async function runSuite(t: Deno.TestContext, server: TestServer, suite: Suite): Promise<void> {
  const seed = Deno.env.get("SEED") ?? String(Math.floor(Math.random() * 2 ** 32));
  const env = {
    DIALECTS: suite.dialects,
    CACHES: suite.caches,
    FSX_OPERATIONS: String(suite.fsxOperations),
    SEED: seed,
    NATIVE: suite.native ? "1" : "",
    LACKS: suite.lacks,
  };
  {
    using client = await RawClient.attach(server);
    await client.makeMany(`${server.work}/many`, 10_000);
  }
  await runScript(t, server, { script: "suite.sh", files: ["checks.sh", "native.sh"], env, msize: suite.msize });
}

/** A script of `guest/` that reports as suite.sh does. */
export interface GuestScript {
  script: string;
  /** Other files of `guest/` that it takes. */
  files: string[];
  /** Bytes of other files. */
  data?: Record<string, Uint8Array>;
  env: Record<string, string>;
  msize: number;
  timeoutMs?: number;
}

/** Runs a script against a server; answers what it printed. */
export async function runScript(t: Deno.TestContext, server: TestServer, job: GuestScript): Promise<string> {
  const files: Record<string, string | Uint8Array> = { ...job.data };
  for (const name of job.files) files[name] = await Deno.readTextFile(`${SCRIPTS}/${name}`);
  const where = { PORT: String(server.port), ANAME: server.aname, WORK: server.work, MSIZE: String(job.msize) };
  const script = await Deno.readTextFile(`${SCRIPTS}/${job.script}`);
  const env = { ...where, ...job.env }, timeoutMs = job.timeoutMs ?? 900_000;
  const result = await runGuest({ script, files, env, timeoutMs });
  await judge(t, server.name, result);
  return result.output;
}

/** Each check of a script's report as a step of a test; `who` is what one that was skipped had no means for. */
export async function judge(t: Deno.TestContext, who: string, result: GuestResult): Promise<void> {
  const checks = parseReport(result.output);
  for (const { name, outcome, detail } of checks) {
    if (outcome === "skip") noteSkipped(`${t.name} > ${name}`, `${who} has no means for it`);
    await t.step({ name, ignore: outcome === "skip", fn: () => assert.equal(outcome, "ok", detail) });
  }
  await t.step("the script came to its end", () => {
    assert.equal(result.status, 0, result.output);
    assert.ok(checks.length > 10, result.output);
    assert.doesNotMatch(result.kernelLog, /BUG|WARNING|Oops/, result.kernelLog);
  });
}

function parseReport(output: string): Check[] {
  const checks: Check[] = [];
  for (const line of output.split("\n")) {
    const head = /^(ok|not ok|skip) (.+)$/.exec(line);
    if (head) checks.push({ outcome: head[1] as Check["outcome"], name: head[2], detail: "" });
    else if (checks.length > 0) checks[checks.length - 1].detail += `${line}\n`;
  }
  return checks;
}
