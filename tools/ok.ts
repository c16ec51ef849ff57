/**
 * `deno task ok [--no-tests]`: the one gate. Format, lint with the layer rules, types, doc lint, doc examples, tests;
 * stops at the first that fails, with its output.
 *
 * Layer: tools. Doc lint asks for a comment on each exported symbol and for types that are exported too; a member
 * whose name and type say all needs none (style: a comment says what the code cannot).
 */

import { globSync } from "node:fs";
import { EX_USAGE, readArgs, UsageError } from "../cmd/args.ts";
import { deno, type Outcome, plain, ROOT, RUN_FLAGS } from "./flags.ts";

/** How a step went. */
type Result = Pick<Outcome, "ok" | "output">;

interface Step {
  name: string;
  run(): Promise<Result>;
}

/** The faults of `deno doc --lint` that count: exported symbols without a comment, and types that should be exported. */
export function docFaults(output: string): string[] {
  const faults = plain(output).split(/\n(?=error\[)/).filter((fault) => fault.startsWith("error["));
  return faults.filter((fault) =>
    fault.startsWith("error[private-type-ref]") || (fault.startsWith("error[missing-jsdoc]") && !isMember(fault))
  );
}

/** A member stands indented: its place is not in the first column. */
function isMember(fault: string): boolean {
  const column = /-->.*:(\d+)/.exec(fault)?.[1];
  return column !== undefined && Number(column) > 1;
}

/** The files of the repository with a doc comment that holds an example. */
function filesWithExamples(): string[] {
  const files = globSync("{mod.ts,{core,devices,fs,net,plugins,examples}/**/*.ts}", { cwd: ROOT });
  return files.filter((file) => / \* ```ts/.test(Deno.readTextFileSync(ROOT + file))).sort();
}

async function lintDocs(): Promise<Result> {
  const { exports } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
  const faults = docFaults((await deno(["doc", "--lint", ...Object.values<string>(exports)])).output);
  return { ok: faults.length === 0, output: faults.join("\n") };
}

const steps: Step[] = [
  { name: "format", run: () => deno(["fmt", "--check"]) },
  { name: "lint", run: () => deno(["lint"]) },
  { name: "types", run: () => deno(["check"]) },
  { name: "doc lint", run: lintDocs },
  { name: "examples", run: () => deno(["test", ...RUN_FLAGS, "--doc", ...filesWithExamples()]) },
];
const tests: Step = { name: "tests", run: () => deno(["run", ...RUN_FLAGS, "tools/run_tests.ts"]) };

/** The last thing that a step's output counts: `351 passed, 0 failed, 4 skipped`. */
function remark(output: string): string {
  return /^\d+ passed, .*$|\d+ passed \|/m.exec(plain(output))?.[0].replace(" |", "") ?? "";
}

async function main(): Promise<number> {
  let withoutTests: boolean;
  try {
    ({ "no-tests": withoutTests } = readArgs({ options: { "no-tests": { type: "boolean", default: false } } }).values);
  } catch (thrown) {
    if (!(thrown instanceof UsageError)) throw thrown;
    console.error(`ok: ${thrown.message} (usage: deno task ok [--no-tests])`);
    return EX_USAGE;
  }
  for (const step of withoutTests ? steps : [...steps, tests]) {
    const startMs = performance.now();
    const { ok, output } = await step.run();
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    console.log(
      `${step.name.padEnd(10)}${ok ? "ok    " : "FAILED"} ${seconds.padStart(6)} s  ${remark(output)}`.trimEnd(),
    );
    if (!ok) {
      console.log(output);
      return 1;
    }
  }
  return 0;
}

if (import.meta.main) Deno.exit(await main());
