/**
 * `deno task test [FILES AND FLAGS OF deno test]`: runs the tests, lists what was skipped and why, and ends with one
 * line, `N passed, N failed, N skipped`, which counts tests and their steps alike.
 *
 * Layer: tools. A test that was skipped and has given no reason (`tests/skip.ts`) is listed as such.
 */

import { plain, ROOT, RUN_FLAGS } from "./flags.ts";

/** A run that has printed nothing for so long is ended: a guest that boots and works takes less. */
const STALL_MS = 240_000;

/** How many tests and steps ended how. */
export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** The counts of `deno test`'s last line: `ok | 12 passed (3 steps) | 0 failed | 1 ignored (2 steps)`. */
export function countsOf(output: string): Counts | undefined {
  const summary = plain(output).split("\n").findLast((line) => /^(ok|FAILED) \| \d+ passed/.test(line));
  if (!summary) return undefined;
  const count = (word: string) => {
    const found = new RegExp(`(\\d+) ${word}(?: \\((\\d+) steps?\\))?`).exec(summary);
    return Number(found?.[1] ?? 0) + Number(found?.[2] ?? 0);
  };
  return { passed: count("passed"), failed: count("failed"), skipped: count("ignored") };
}

/** The tests and steps (`TEST > STEP`) that a JUnit report says were skipped. */
export function skippedIn(junit: string): { name: string; file: string }[] {
  const skipped: { name: string; file: string }[] = [];
  let file = "";
  for (
    const [, suite, test] of junit.matchAll(/<testsuite name="([^"]*)"|<testcase name="([^"]*)"[^>]*>\s*<skipped/g)
  ) {
    if (suite !== undefined) file = unescapeXml(suite);
    else skipped.push({ name: unescapeXml(test), file });
  }
  return skipped;
}

function unescapeXml(text: string): string {
  const entities: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };
  return text.replace(/&(lt|gt|amp|quot|apos);/g, (_, name) => entities[name])
    .replace(/&#(x?)([0-9a-fA-F]+);/g, (_, hex, digits) => String.fromCodePoint(parseInt(digits, hex ? 16 : 10)));
}

/** Runs `deno test`, shows what it prints as it comes, and answers it with how it ended. */
async function runTests(args: string[], env: Record<string, string>): Promise<{ ok: boolean; output: string }> {
  if (Deno.stdout.isTerminal()) env = { ...env, FORCE_COLOR: "1" };
  const flags = [...RUN_FLAGS, "--sanitize-ops", "--sanitize-resources"];
  const command = new Deno.Command(Deno.execPath(), {
    args: ["test", ...flags, ...args],
    cwd: ROOT,
    env,
    stdout: "piped",
  });
  const child = command.spawn();
  let output = "";
  const decoder = new TextDecoder();
  const watch = () =>
    setTimeout(() => {
      console.error(`\nnothing for ${STALL_MS / 1000} s: the test shown last hangs`);
      child.kill("SIGKILL");
    }, STALL_MS);
  let stalled = watch();
  for await (const bytes of child.stdout) {
    clearTimeout(stalled);
    stalled = watch();
    Deno.stdout.writeSync(bytes);
    output += decoder.decode(bytes, { stream: true });
  }
  clearTimeout(stalled);
  return { ok: (await child.status).success, output };
}

async function main(args: string[]): Promise<boolean> {
  const scratch = Deno.makeTempDirSync({ prefix: "ring9-test-" });
  try {
    const reasonFile = `${scratch}/skips`, junitFile = `${scratch}/junit.xml`;
    Deno.writeTextFileSync(reasonFile, "");
    const run = await runTests([`--junit-path=${junitFile}`, ...args], { RING9_SKIPS: reasonFile });
    const counts = countsOf(run.output) ?? { passed: 0, failed: 1, skipped: 0 };
    if (!run.ok && counts.failed === 0) counts.failed = 1;
    if (counts.skipped > 0) listSkipped(skippedIn(Deno.readTextFileSync(junitFile)), Deno.readTextFileSync(reasonFile));
    console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
    return run.ok;
  } finally {
    Deno.removeSync(scratch, { recursive: true });
  }
}

function listSkipped(skipped: { name: string; file: string }[], noted: string): void {
  const notes = new Map<string, { reason: string; file: string }>();
  for (const line of noted.split("\n").filter((line) => line !== "")) {
    const note = JSON.parse(line);
    notes.set(note.name, note);
  }
  console.log("skipped:");
  for (const { name, file } of skipped) {
    const note = notes.get(name) ?? notes.get(name.split(" > ")[0]);
    const where = note?.file.startsWith(`file://${ROOT}`)
      ? note.file.slice(`file://${ROOT}`.length)
      : note?.file ?? file;
    console.log(`  ${where}: ${name}: ${note?.reason ?? "no reason given"}`);
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args) ? 0 : 1);
