/**
 * A JSON parser that remembers where each value and each key stands, for messages that name the line.
 *
 * Layer: core/plugin, a leaf, pure. Strict JSON (RFC 8259) with one thing more to refuse: a key that is there twice.
 */

import { Err } from "../err.ts";

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A place in a text; both count from 1, columns in UTF-16 units. */
export interface Position {
  line: number;
  column: number;
}

/** A parsed text. Paths are the keys and indexes that lead to a value. */
export interface Parsed {
  readonly value: Json;
  /** Where the value at `path` begins, or where its key does; the nearest thing above it when it is not there. */
  at(path: readonly (string | number)[], what?: "key" | "value"): Position;
}

/** Nested arrays and objects at the most. */
const MAX_DEPTH = 64;

/**
 * Parses JSON. Text that is none is refused with EINVAL: `plugin.json:3:7: expected a comma or }`.
 *
 * @example
 * ```ts
 * import { parseJson } from "./json.ts";
 * const { value, at } = parseJson('{\n  "level": 3\n}', "plugin.json");
 * console.assert((value as { level: number }).level === 3 && at(["level"]).line === 2);
 * ```
 */
export function parseJson(text: string, file: string): Parsed {
  const parser = new Parser(text, file);
  const value = parser.document();
  const at = (path: readonly (string | number)[], what: "key" | "value" = "value") => {
    for (let length = path.length; length > 0; length--) {
      const known = parser.places.get(JSON.stringify(path.slice(0, length)));
      if (known) return positionOf(text, length === path.length && what === "key" ? known.key : known.value);
    }
    return positionOf(text, parser.start);
  };
  return { value, at };
}

/** The line and column of an offset. */
function positionOf(text: string, offset: number): Position {
  const before = text.slice(0, offset);
  const line = before.split("\n").length;
  return { line, column: offset - before.lastIndexOf("\n") };
}

const WORDS: [string, Json][] = [["true", true], ["false", false], ["null", null]];
const ESCAPES: Record<string, string> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y;

class Parser {
  /** Offsets of keys and values, by their path as JSON. */
  readonly places = new Map<string, { key: number; value: number }>();
  /** Where the outermost value begins. */
  start = 0;
  readonly #text: string;
  readonly #file: string;
  readonly #path: (string | number)[] = [];
  #pos = 0;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  document(): Json {
    if (this.#text.charCodeAt(0) === 0xfeff) this.#pos = 1;
    this.#blanks();
    this.start = this.#pos;
    const value = this.#value();
    this.#blanks();
    if (this.#pos < this.#text.length) this.#fail("there is more after the end of the value");
    return value;
  }

  #value(): Json {
    const c = this.#text[this.#pos];
    if (c === "{") return this.#object();
    if (c === "[") return this.#array();
    if (c === '"') return this.#string();
    for (const [word, value] of WORDS) {
      if (!this.#text.startsWith(word, this.#pos)) continue;
      this.#pos += word.length;
      return value;
    }
    NUMBER.lastIndex = this.#pos;
    const number = NUMBER.exec(this.#text);
    if (!number) return this.#fail(c === undefined ? "the text ends too soon" : `expected a value, found ${quote(c)}`);
    this.#pos += number[0].length;
    return Number(number[0]);
  }

  #object(): Json {
    const members: [string, Json][] = [];
    const keys = new Set<string>();
    this.#list("}", () => {
      const key = this.#pos;
      if (this.#text[key] !== '"') this.#fail("expected a key in double quotes");
      const name = this.#string();
      if (keys.has(name)) this.#fail(`the key ${quote(name)} is there twice`, key);
      keys.add(name);
      this.#blanks();
      if (this.#text[this.#pos] !== ":") this.#fail("expected a colon");
      this.#pos++;
      this.#blanks();
      members.push([name, this.#placed(name, key)]);
    });
    return Object.fromEntries(members);
  }

  #array(): Json {
    const items: Json[] = [];
    this.#list("]", () => items.push(this.#placed(items.length, this.#pos)));
    return items;
  }

  /** The value here, which stands under `step` in what holds it. */
  #placed(step: string | number, key: number): Json {
    this.#path.push(step);
    this.places.set(JSON.stringify(this.#path), { key, value: this.#pos });
    const value = this.#value();
    this.#path.pop();
    return value;
  }

  #list(close: string, item: () => void): void {
    if (this.#path.length > MAX_DEPTH) this.#fail(`nested deeper than ${MAX_DEPTH}`);
    this.#pos++;
    this.#blanks();
    if (this.#text[this.#pos] === close) {
      this.#pos++;
      return;
    }
    for (;;) {
      item();
      this.#blanks();
      const c = this.#text[this.#pos];
      if (c !== "," && c !== close) this.#fail(`expected a comma or ${close}`);
      this.#pos++;
      if (c === close) return;
      this.#blanks();
      if (this.#text[this.#pos] === close) this.#fail(`a comma before ${close}`);
    }
  }

  #string(): string {
    let out = "";
    for (let from = ++this.#pos;; this.#pos++) {
      const c = this.#text[this.#pos];
      if (c === undefined) this.#fail("a string is not closed");
      if (c < " ") this.#fail("a control character in a string: write it as \\n, \\t or \\u00XX");
      if (c !== '"' && c !== "\\") continue;
      out += this.#text.slice(from, this.#pos);
      if (c === '"') {
        this.#pos++;
        return out;
      }
      out += this.#escape();
      from = this.#pos + 1;
    }
  }

  /** The character that a backslash stands for; ends on its last character. */
  #escape(): string {
    const c = this.#text[++this.#pos];
    if (c === "u") {
      const digits = this.#text.slice(this.#pos + 1, this.#pos + 5);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.#fail("\\u needs four hexadecimal digits");
      this.#pos += 4;
      return String.fromCharCode(parseInt(digits, 16));
    }
    if (c === undefined || !Object.hasOwn(ESCAPES, c)) this.#fail(`there is no escape \\${c ?? ""}`);
    return ESCAPES[c];
  }

  #blanks(): void {
    while (" \t\n\r".includes(this.#text[this.#pos] || "x")) this.#pos++;
  }

  #fail(why: string, offset = this.#pos): never {
    const { line, column } = positionOf(this.#text, offset);
    throw new Err("EINVAL", `${this.#file}:${line}:${column}: ${why}`);
  }
}

function quote(text: string): string {
  return JSON.stringify(text);
}
