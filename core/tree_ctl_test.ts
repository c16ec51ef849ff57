import assert from "node:assert/strict";
import { Req } from "./dev.ts";
import { Err, excerpt } from "./err.ts";
import { ctl, tokenize } from "./tree_ctl.ts";

const req = new Req({ name: "glenda", uid: 1000, gid: 1000 });
const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (thrown) {
    assert(thrown instanceof Err && thrown.code === "EINVAL", String(thrown));
    return thrown.message;
  }
  throw new Error("was not refused");
};

Deno.test("commands get their words typed and in range", () => {
  const calls: unknown[][] = [];
  const c = ctl({
    reset: (r) => void calls.push([r === req]),
    "rate hz:1..1000": (hz) => void calls.push([hz + 1]),
    "mode which:fast|slow [n:int]": (which: "fast" | "slow", n) => void calls.push([which, n]),
    "scale by:number": { help: "multiplies", run: (by) => void calls.push([by]) },
    "led state:bool": (state) => void calls.push([state]),
    "say what:text": (what) => void calls.push([what]),
    "add item more...": (item, more) => void calls.push([item, more]),
  });
  c.exec("reset\nrate 5\n\n# a comment\nmode fast\nmode slow -0x10\n  scale  2.5e1 ", req);
  c.exec("led on\nled 0\nsay  'as  it' stands \nadd 'it''s one' two  three\nadd x", req);
  assert.deepEqual(calls, [
    [true],
    [6],
    ["fast", undefined],
    ["slow", -16],
    [25],
    [true],
    [false],
    [
      "'as  it' stands",
    ],
    ["it's one", ["two", "three"]],
    ["x", []],
  ]);
});

Deno.test("a refusal says what was wrong and what is wanted, and nothing of that write has run", () => {
  let ran = 0;
  const c = ctl({ go: () => void ran++, "rate hz:1..10": () => void ran++, "led s:bool": () => void ran++ });
  assert.equal(
    refusal(() => c.exec("go\nfly", req)),
    'unknown command "fly"; the commands are: go; rate hz:1..10; led s:bool',
  );
  assert.equal(
    refusal(() => c.exec("rate", req)),
    "rate: hz is missing, wanted an integer from 1 to 10 (usage: rate hz:1..10)",
  );
  assert.equal(
    refusal(() => c.exec("go\nrate 11", req)),
    'rate: hz is "11", wanted an integer from 1 to 10 (usage: rate hz:1..10)',
  );
  for (
    const bad of [
      "rate 1.5",
      "rate 0x",
      "rate ''",
      "rate 1 2",
      "rate 99999999999999999999",
      "led maybe",
      "led toString",
      "go 'x",
    ]
  ) {
    refusal(() => c.exec(bad, req));
  }
  assert.equal(ran, 0);
});

Deno.test("asynchronous commands run one after the other, and the first that fails ends the write", async () => {
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const c = ctl({
    "later name": (name) => gate.promise.then(() => void order.push(name)),
    "now name": (name) => void order.push(name),
    fail: () => Promise.reject(new Err("EBUSY")),
  });
  const done = c.exec("later a\nnow b\nlater c", req);
  assert.deepEqual(order, []);
  gate.resolve();
  await done;
  assert.deepEqual(order, ["a", "b", "c"]);
  await assert.rejects(async () => await c.exec("fail\nnow d", req), { code: "EBUSY" });
  assert.deepEqual(order, ["a", "b", "c"]);
  assert.equal(c.exec("now e", req), undefined, "a command that answers at once is not made to wait");
});

Deno.test("a refusal quotes the beginning of what was sent, and says what is wanted whatever that was", () => {
  const c = ctl({ "rate hz:1..10": () => {} }), long = "x".repeat(2_000_000);
  for (const sent of [long, `rate ${long}`, `rate 1 ${long}`, `rate '${long}`]) {
    const text = refusal(() => c.exec(sent, req));
    assert.ok(text.length < 160 && /x{50,60}…/.test(text), text.slice(0, 300));
  }
  assert.match(refusal(() => c.exec(long, req)), /…"; the commands are: rate hz:1\.\.10$/);
  assert.equal(excerpt("12345", 5), "12345");
  assert.equal(excerpt("123456", 5), "12345…");
  assert.equal(excerpt("1234😀", 5), "1234…", "no half of a character");
});

Deno.test("its usage lists the commands with their help", () => {
  const c = ctl({ reset() {}, "rate hz:1..10": { help: "ticks a second", run() {} } });
  assert.equal(c.usage, "reset\nrate hz:1..10\tticks a second\n");
});

Deno.test("a table that makes no sense is refused when it is made", () => {
  assert.match(refusal(() => ctl({ "a x": () => {}, "a y": () => {} })), /two commands are called a/);
  assert.match(refusal(() => ctl({ "a rest... y": () => {} })), /has to be the last/);
  assert.match(refusal(() => ctl({ "a x:colour": () => {} })), /no type "colour"/);
});

Deno.test("tokenize() parts words as tokenize(2) does", () => {
  assert.deepEqual(tokenize(" a\t'b c'd '' 'it''s' "), ["a", "b cd", "", "it's"]);
  assert.deepEqual(tokenize(""), []);
  refusal(() => tokenize("'open"));
});
