/**
 * The Linux kernel's own 9P client, in a QEMU guest, against ring9; and against diod, which shows that the checks
 * themselves are right.
 *
 * Needs: qemu-system-x86_64, gcc, xz, apt's lists (for Debian's kernel and busybox), diod: tools/apt-packages.txt.
 * What is checked: guest/suite.sh. One guest boot a server, many mounts.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { guestMissing, runGuest } from "./guest.ts";
import { RawClient } from "./raw9p.ts";
import { startDiod, startRing9, type TestServer } from "./servers.ts";
import { interop, noteSkipped, program } from "../skip.ts";

const SCRIPTS = fileURLToPath(new URL("./guest", import.meta.url));

interface Suite {
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

async function runSuite(t: Deno.TestContext, server: TestServer, suite: Suite): Promise<void> {
  const seed = Deno.env.get("SEED") ?? String(Math.floor(Math.random() * 2 ** 32));
  const files: Record<string, string> = {};
  for (const name of ["checks.sh", "native.sh"]) files[name] = await Deno.readTextFile(`${SCRIPTS}/${name}`);
  const env = {
    PORT: String(server.port),
    ANAME: server.aname,
    WORK: server.work,
    MSIZE: String(suite.msize),
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
  const script = await Deno.readTextFile(`${SCRIPTS}/suite.sh`);
  const result = await runGuest({ script, files, env, timeoutMs: 180_000 });
  const checks = parseReport(result.output);
  for (const { name, outcome, detail } of checks) {
    if (outcome === "skip") noteSkipped(`${t.name} > ${name}`, `${server.name} has no means for it`);
    await t.step({ name, ignore: outcome === "skip", fn: () => assert.equal(outcome, "ok", detail) });
  }
  await t.step("the suite came to its end", () => {
    assert.equal(result.status, 0, result.output);
    assert.ok(checks.length > 20, result.output);
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

const everywhere = { dialects: "9p2000.L 9p2000.u 9p2000", caches: "none loose" };

interop("Linux's kernel mounts ring9 in every dialect and works in it", { needs: [guestMissing] }, async (t) => {
  await using server = await startRing9();
  await runSuite(t, server, { ...everywhere, msize: 1 << 20, fsxOperations: 500, native: true, lacks: "" });
});

interop("diod passes the guest's checks, so they are right", { needs: [guestMissing, program("diod")] }, async (t) => {
  await using server = await startDiod();
  // It refuses Tgetlock, and its fids are names, which a rename breaks.
  const lacks = "getlock_between_mounts loose:probe_renames";
  const suite = { dialects: "9p2000.L", caches: "none", msize: 65536, fsxOperations: 300, native: false, lacks };
  await runSuite(t, server, suite);
});
