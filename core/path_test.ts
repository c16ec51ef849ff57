import assert from "node:assert/strict";
import { checkName, cleanPath, deviceOf, dirAndName, isDial, joinPath, parseLines, quote, splitPath } from "./path.ts";

Deno.test("cleanPath takes what text alone can take", () => {
  const cases: Record<string, string> = {
    "/": "/",
    "//a///b/": "/a/b",
    "/a/./b/../c": "/a/c",
    "/../../a": "/a",
    "a/../..": "..",
    "../a/..": "..",
    "": ".",
    "./": ".",
    "a/..": ".",
    "#ram": "#ram",
    "#ram.1//a/../b": "#ram.1/b",
    "#ram/../..": "#ram",
    "/#ram": "/#ram",
    "/...": "/...",
  };
  for (const [path, clean] of Object.entries(cases)) {
    assert.equal(cleanPath(path), clean, path);
    assert.equal(cleanPath(clean), clean, path);
  }
});

Deno.test("paths are joined, split, and told from devices and dial strings", () => {
  assert.equal(joinPath("/a/b", "../c"), "/a/c");
  assert.equal(joinPath("/a", "/c"), "/c");
  assert.equal(joinPath("/a", "#c/d"), "#c/d");
  assert.equal(joinPath("#ram/a", ".."), "#ram");
  assert.deepEqual(splitPath("#ram.1/a//./b"), ["a", "b"]);
  assert.equal(deviceOf("#ram.1/a"), "#ram.1");
  assert.equal(deviceOf("/#a"), "");
  assert.deepEqual(["/a/b", "/a", "a", "a/b", "/", "#d", "#d/a"].map((path) => dirAndName(path)), [
    ["/a", "b"],
    ["/", "a"],
    [".", "a"],
    ["a", "b"],
    ["/", ""],
    ["#d", ""],
    ["#d", "a"],
  ]);
  assert.deepEqual(["tcp!h!564", "unix!/a/b", "/a!b", "./a!b", "#a!b", "a"].map(isDial), [
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
  for (const name of ["", ".", "..", "a/b", "a\0"]) assert.throws(() => checkName(name), /illegal name/);
});

Deno.test("words that were quoted are read back as they were", () => {
  const words = [
    "a",
    "",
    " ",
    "it's",
    "''",
    "a b",
    "#c",
    "$d",
    "ü/ж",
    "\udc80x",
    "new\nline",
    "tab\t",
    "a'b'c",
    "-abc",
    "`x`",
  ];
  const [line, ...more] = parseLines(words.map(quote).join(" "), (part) => {
    assert.doesNotMatch(part, /[$#]/, "a quoted part was expanded");
    return part;
  });
  assert.deepEqual(line.words, words);
  assert.equal(more.length, 0);
});

Deno.test("parseLines counts lines, skips comments, joins what is quoted to what is not", () => {
  const text = "one 1\n\n# a comment 'with a quote\n  # and another\nt'w 'o''' x' #c\r\n'a\nb' c\nlast";
  assert.deepEqual(parseLines(text, (part) => part.toUpperCase()), [
    { line: 1, words: ["ONE", "1"] },
    { line: 5, words: ["Tw O' x", "#C"] },
    { line: 6, words: ["a\nb", "C"] },
    { line: 8, words: ["LAST"] },
  ]);
  assert.throws(() => parseLines("ok\nbad 'x"), /^Err: 2: quote without an end$/);
});
