import assert from "node:assert/strict";
import { interop, missing, noteSkipped, program, root } from "../tests/skip.ts";
import { deno, RUN_FLAGS } from "./flags.ts";
import { newPlugin, Refusal } from "./new.ts";
import { docFaults } from "./ok.ts";
import { countsOf, skippedIn } from "./run_tests.ts";

Deno.test("the counts of tests and steps are taken from deno test's summary", () => {
  const summary = (line: string) =>
    countsOf(`a test ... ok\n\n\x1b[32mok\x1b[0m | 9 passed\n${line} (12ms)\n\nerror: Test failed\n`);
  assert.deepEqual(summary("ok | 351 passed (60 steps) | 0 failed | 1 ignored (4 steps) | 2 filtered out"), {
    passed: 411,
    failed: 0,
    skipped: 5,
  });
  assert.deepEqual(summary("\x1b[31mFAILED\x1b[0m | 1 passed | 2 failed (1 step)"), {
    passed: 1,
    failed: 3,
    skipped: 0,
  });
  assert.equal(countsOf("error: Type checking failed."), undefined);
});

Deno.test("skipped tests and steps are found in a JUnit report, their names as they were", () => {
  const junit = `<testsuites name="deno test"><testsuite name="./a_test.ts" tests="2">
  <testcase name="a &lt;b&gt; &amp; &quot;c&quot; &#39;" classname="./x.ts" time="0" line="1">
    <skipped/>
  </testcase><testcase name="fine" classname="./a_test.ts"></testcase></testsuite><testsuite name="./b_test.ts">
  <testcase name="t &gt; step" classname="./x.ts">
    <skipped/></testcase></testsuite></testsuites>`;
  assert.deepEqual(skippedIn(junit), [
    { name: `a <b> & "c" '`, file: "./a_test.ts" },
    { name: "t > step", file: "./b_test.ts" },
  ]);
});

Deno.test("doc lint lets a member without a comment pass, and nothing else", () => {
  const fault = (kind: string, column: number) => `error[${kind}]: why\n --> /x/a.ts:3:${column}\n  |\n3 | code\n`;
  const all = [fault("missing-jsdoc", 3), fault("missing-jsdoc", 1), fault("private-type-ref", 3)];
  assert.deepEqual(docFaults(all.join("\n")).map((text) => text.split(":")[0]), [
    "error[missing-jsdoc]",
    "error[private-type-ref]",
  ]);
});

Deno.test("a skipped test is listed with its reason, and one that needs nothing runs", async () => {
  assert.equal(missing([]), undefined);
  assert.equal(missing([program("sh")]), undefined);
  assert.equal(
    missing([program("no-such-program"), () => "needs luck"]),
    "needs the program no-such-program, needs luck",
  );
  assert.equal(root(), Deno.uid() === 0 ? undefined : "needs root");
  assert.equal(typeof interop, "function");
  assert.equal(typeof noteSkipped, "function");
  const dir = Deno.makeTempDirSync();
  try {
    const skip = new URL("../tests/skip.ts", import.meta.url);
    const test = `import { interop } from ${JSON.stringify(skip.href)};
      interop("never", { needs: [() => "needs luck"] }, () => { throw 1; });
      interop("always", { needs: [] }, () => {});`;
    Deno.writeTextFileSync(`${dir}/x_test.ts`, test);
    const { ok, output } = await deno(["run", ...RUN_FLAGS, "tools/run_tests.ts", "--no-check", `${dir}/x_test.ts`]);
    assert(ok, output);
    assert.match(output, /skipped:\n {2}\S*x_test.ts: never: needs luck\n1 passed, 0 failed, 1 skipped\n/);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});

Deno.test("a new plugin passes its own test, is formatted, and is not made twice", async () => {
  const dir = Deno.makeTempDirSync();
  try {
    const folder = newPlugin("my-thing", dir);
    assert.deepEqual([...Deno.readDirSync(folder)].map((entry) => entry.name).sort(), [
      "deno.json",
      "mod.ts",
      "mod_test.ts",
      "my-thing.md",
      "plugin.json",
    ]);
    const config = `--config=${folder}/deno.json`;
    const test = await deno(["test", "-R", "--no-prompt", config, folder]);
    assert(test.ok && /2 passed/.test(test.output), test.output);
    const fmt = await deno(["fmt", "--check", config, folder]);
    assert(fmt.ok, fmt.output);
    assert.throws(() => newPlugin("my-thing", dir), Refusal);
    for (const bad of ["", "X", "../x", "a/b", "9p", "a".repeat(33)]) {
      assert.throws(() => newPlugin(bad, dir), Refusal, bad);
    }
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});
