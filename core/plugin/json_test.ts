import assert from "node:assert/strict";
import { Err } from "../err.ts";
import { parseJson } from "./json.ts";

const refusal = (text: string): string => {
  try {
    parseJson(text, "f");
  } catch (thrown) {
    assert(thrown instanceof Err && thrown.code === "EINVAL", String(thrown));
    return thrown.message;
  }
  throw new Error(`was not refused: ${text}`);
};

Deno.test("parseJson() agrees with JSON.parse on what is JSON", () => {
  const texts = [
    '{"a":[1,-0.5e+3,0,true,false,null,"x\\n\\u00e9\\ud83d\\ude00\\/\\\\"],"b":{},"c":[],"":{"d":[[[]]]}}',
    '\ufeff {\r\n "a" :\t1 }\n'.replace("\ufeff", ""),
    '"text"',
    " 12 ",
    '{"__proto__":{"x":1},"constructor":2}',
  ];
  for (const text of texts) assert.deepEqual(parseJson(text, "f").value, JSON.parse(text));
  assert.deepEqual(parseJson("\ufeff[1]", "f").value, [1]);
});

Deno.test("parseJson() refuses what JSON.parse refuses", () => {
  const texts = [
    "",
    "{",
    "[1,]",
    '{"a":1,}',
    "{a:1}",
    "01",
    "1.",
    "+1",
    "nul",
    '"a',
    '"\\x"',
    '"\\u12g4"',
    '"\n"',
    "[1 2]",
  ];
  for (const text of [...texts, "1 2", "{}}", '{"a" 1}', "'a'", "NaN", ".5", "- 1", "[", '{"a":', "/* */ 1"]) {
    assert.throws(() => JSON.parse(text), `${text} is JSON`);
    refusal(text);
  }
});

Deno.test("a refusal names the line and the column", () => {
  assert.equal(refusal('{\n  "a": 1,\n  "b" 2\n}'), "f:3:7: expected a colon");
  assert.equal(refusal('{\n  "a": 1\n  "b": 2\n}'), "f:3:3: expected a comma or }");
  assert.equal(refusal('{"a": 1, "a": 2}'), 'f:1:10: the key "a" is there twice');
  assert.equal(refusal("[tru]"), 'f:1:2: expected a value, found "t"');
  assert.match(refusal("[".repeat(10_000)), /nested deeper than 64/);
});

Deno.test("places of keys and values are known, and the nearest one above what is not there", () => {
  const { at } = parseJson('{\n  "a": {\n    "b": [1,\n  22]\n  },\n  "c/d": 3\n}', "f");
  assert.deepEqual(at([]), { line: 1, column: 1 });
  assert.deepEqual(at(["a", "b"], "key"), { line: 3, column: 5 });
  assert.deepEqual(at(["a", "b"]), { line: 3, column: 10 });
  assert.deepEqual(at(["a", "b", 1]), { line: 4, column: 3 });
  assert.deepEqual(at(["a", "missing"], "key"), { line: 2, column: 8 });
  assert.deepEqual(at(["c/d"]), { line: 6, column: 10 });
});
