import assert from "node:assert/strict";
import { allowedCpus } from "../core/host/threads.ts";
import { UsageError } from "../cmd/args.ts";
import { deno } from "../tools/flags.ts";
import { commands, count, cpuList, oneOf, onOff, parseFlags, partOf, partsOf, seconds, someOf, text } from "./flags.ts";

const HERE = new URL("./", import.meta.url);

const FLAGS = {
  json: onOff(),
  runs: count(5, 100),
  seconds: seconds(1),
  cpus: cpuList([allowedCpus()[0]]),
  shield: oneOf(["off", "user"], "off"),
  placement: someOf(["inline", "isolate"], ["inline"]),
  peer: commands(),
  only: partOf(() => ["4 KiB read, 16", "walk"]),
  columns: partsOf(() => ["ours, file", "npm"]),
  dir: text("DIR", undefined),
};

Deno.test("flags of a benchmark are what they say, or what they are when they are not given", () => {
  const cpu = allowedCpus()[0];
  const defaults = parseFlags(FLAGS, []);
  assert.deepEqual([defaults.json, defaults.runs, defaults.cpus, defaults.peer], [false, 5, [cpu], []]);
  const words = `--json --runs=7 --seconds=0.5 --cpus=${cpu} --shield user --placement isolate --placement inline`;
  const given = parseFlags(FLAGS, [...words.split(" "), "--peer=a=b --c=d", "--only=read, 16", "--columns=ours,npm"]);
  assert.deepEqual({ ...given }, {
    json: true,
    runs: 7,
    seconds: 0.5,
    cpus: [cpu],
    shield: "user",
    placement: ["isolate", "inline"],
    peer: [{ name: "a", command: "b --c=d" }],
    only: "read, 16",
    columns: ["ours", "npm"],
    dir: undefined,
  });
});

Deno.test("a wrong value of a benchmark's flag is refused, in one line that says what is wanted", () => {
  const cases: [arg: string, says: RegExp][] = [
    ["--what", /Unknown option '--what'/],
    ["--json=1", /does not take an argument/],
    ["--runs", /'--runs' wants a value/],
    ["--runs=0", /--runs: "0" is not an integer from 1 to 100/],
    ["--runs=2.5", /integer from 1 to 100/],
    ["--seconds=0", /--seconds: "0" is not a number from 0.001/],
    ["--seconds=soon", /"soon" is not a number/],
    ["--cpus=9999", /--cpus: not a list of CPUs: 9999/],
    ["--cpus=1023", /no CPU 1023 is to be had \(there are: .+\)/],
    ["--cpus=", /not a list of CPUs/],
    ["--cpus=x", /not a list of CPUs: x/],
    ["--shield=on", /--shield: "on" is none of: off user/],
    ["--placement=outside", /none of: inline isolate/],
    ["--peer=diod", /--peer: "diod" is not NAME=COMMAND/],
    ["--peer==x", /NAME=COMMAND/],
    ["--only=write", /--only: none is called "write" \(there are: 4 KiB read, 16; walk\)/],
    ["--columns=npm,", /--columns: none is called ""/],
    ["stray", /Unexpected argument 'stray'/],
  ];
  for (const [arg, says] of cases) {
    assert.throws(() => parseFlags(FLAGS, [arg]), (e) => e instanceof UsageError && says.test(e.message), arg);
    assert.throws(() => parseFlags(FLAGS, [arg]), { message: /^.+$/ });
  }
});

Deno.test("a benchmark that is told nonsense says so in one line, and ends with 2", async () => {
  for (const args of [["bench/p9_bench.ts", "--server-cpus", "1023"], ["tools/bench.ts", "tree", "--what"]]) {
    const { code, output } = await deno(["run", "-A", ...args]);
    assert.equal(code, 2, output);
    assert.match(output, /^(--- tree\n)?(bench:9p|tree): .* \(try: --help\)\n$/);
  }
});

Deno.test("every benchmark reads its command line by its table of flags", () => {
  for (const { name } of Deno.readDirSync(HERE)) {
    if (!name.endsWith("_bench.ts")) continue;
    const source = Deno.readTextFileSync(new URL(name, HERE));
    assert.ok(/= readFlags\(/.test(source) || source.includes("Deno.bench("), name);
    assert.ok(!/parseArgs|Deno\.args\./.test(source), name);
  }
});
