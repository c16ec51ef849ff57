import assert from "node:assert/strict";
import { readArgs, readNumber, UsageError } from "./args.ts";

const OPTIONS = {
  image: { type: "string" },
  data: { type: "string", short: "d" },
  quiet: { type: "boolean", default: false },
} as const;

Deno.test("a wrong command line is said in one line", () => {
  const cases: [args: string[], message: string][] = [
    [["--foo"], "Unknown option '--foo'"],
    [["-x"], "Unknown option '-x'"],
    [["--image"], "option '--image' wants a value"],
    [["--image", "--quiet"], "option '--image' wants a value"],
    [["-d"], "option '-d, --data' wants a value"],
    [["--quiet=3"], "Option '--quiet' does not take an argument"],
    [["stray"], "Unexpected argument 'stray'. This command does not take positional arguments"],
  ];
  for (const [args, message] of cases) {
    assert.throws(() => readArgs({ args, options: OPTIONS }), (e) => e instanceof UsageError && e.message === message);
  }
  assert.equal(readArgs({ args: ["--image=a"], options: OPTIONS }).values.image, "a");
});

Deno.test("a number of the command line is one, and within its limits", () => {
  assert.equal(readNumber("--n", "2.5"), 2.5);
  assert.equal(readNumber("--n", "16", { integer: true, least: 1, most: 16 }), 16);
  for (const text of ["", " ", "x", "3x", "-1", "NaN", "Infinity", "1e999"]) {
    assert.throws(() => readNumber("--n", text), { message: `--n: "${text}" is not a number, 0 or more` });
  }
  const limits = { integer: true, least: 1, most: 16 };
  for (const text of ["0", "1.5", "17"]) {
    assert.throws(() => readNumber("--n", text, limits), { message: `--n: "${text}" is not an integer from 1 to 16` });
  }
});
