/**
 * A subset of JSON schema: what manifests, images and plugins' options are checked against.
 *
 * Layer: core/plugin, a leaf, pure. Known keywords: type, default, enum, minimum, maximum, minItems, maxItems, pattern,
 * description, required, properties, additionalProperties (a schema), items, anyOf, $ref to `#/$defs/x`. One thing is
 * stricter than the standard: an object with `properties` takes no other key, as a misspelt one is never meant.
 */

import type { Json } from "./json.ts";

/** A type's name in JSON schema. */
export type TypeName = "null" | "boolean" | "integer" | "number" | "string" | "array" | "object";

/** A schema. */
export interface Schema {
  $schema?: string;
  title?: string;
  description?: string;
  type?: TypeName | TypeName[];
  default?: Json;
  enum?: Json[];
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  /** A regular expression that the text matches; say in `description` what it means. */
  pattern?: string;
  required?: string[];
  properties?: { [key: string]: Schema };
  additionalProperties?: false | Schema;
  items?: Schema;
  anyOf?: Schema[];
  $ref?: string;
  $defs?: { [name: string]: Schema };
}

/** What is wrong, and where. `on` says whether the key is to blame, or its value. */
export interface Fault {
  path: (string | number)[];
  on: "key" | "value";
  message: string;
}

/** A value as a schema sees it: `value` with defaults filled in, or the first fault. */
export type Checked = { value: Json; fault?: undefined } | { value?: undefined; fault: Fault };

/** Checks `value`, and fills in what the schema has defaults for; `value` itself stays as it is. */
export function check(schema: Schema, value: Json): Checked {
  try {
    return { value: new Checker(schema).check(schema, value, []) };
  } catch (thrown) {
    if (thrown instanceof FaultThrown) return { fault: thrown.fault };
    throw thrown;
  }
}

/** A path as a person writes it: `options.listen[0]`. */
function pathText(path: readonly (string | number)[]): string {
  return path.map((step, i) => typeof step === "number" ? `[${step}]` : i > 0 ? `.${step}` : step).join("");
}

class FaultThrown extends Error {
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(fault.message);
    this.fault = fault;
  }
}

class Checker {
  readonly #root: Schema;

  constructor(root: Schema) {
    this.#root = root;
  }

  check(schema: Schema, value: Json, path: (string | number)[]): Json {
    if (schema.$ref) return this.check(this.#resolve(schema.$ref), value, path);
    if (schema.anyOf) return this.#anyOf(schema, value, path);
    if (schema.type && ![schema.type].flat().some((type) => isType(value, type))) {
      fail(path, `${pathText(path) || "it"} has to be ${wanted(schema)}, not ${JSON.stringify(value)}`);
    }
    if (schema.enum && !schema.enum.some((one) => JSON.stringify(one) === JSON.stringify(value))) {
      fail(path, `${pathText(path)} is ${JSON.stringify(value)}, and has to be ${wanted(schema)}`);
    }
    if (typeof value === "number") checkNumber(schema, value, path);
    if (typeof value === "string" && schema.pattern && !new RegExp(schema.pattern, "u").test(value)) {
      fail(
        path,
        `${pathText(path)} cannot be ${JSON.stringify(value)}${schema.description ? `: ${schema.description}` : ""}`,
      );
    }
    if (Array.isArray(value)) return this.#array(schema, value, path);
    if (value !== null && typeof value === "object") return this.#object(schema, value, path);
    return value;
  }

  #array(schema: Schema, value: Json[], path: (string | number)[]): Json {
    const { minItems = 0, maxItems = Infinity, items } = schema;
    if (value.length < minItems || value.length > maxItems) {
      const count = minItems === maxItems ? `${minItems}` : `${minItems} to ${maxItems}`;
      fail(path, `${pathText(path)} has ${value.length} entries, wanted ${count}`);
    }
    return items ? value.map((item, i) => this.check(items, item, [...path, i])) : value;
  }

  #object(schema: Schema, value: { [key: string]: Json }, path: (string | number)[]): Json {
    const { properties, additionalProperties, required = [] } = schema;
    const out: [string, Json][] = [];
    for (const [key, item] of Object.entries(value)) {
      const known = properties && Object.hasOwn(properties, key) ? properties[key] : additionalProperties;
      if (!known && (properties || additionalProperties === false)) {
        fail([...path, key], unknownKey(key, path, Object.keys(properties ?? {})), "key");
      }
      out.push([key, known ? this.check(known, item, [...path, key]) : item]);
    }
    for (const key of required) {
      if (!Object.hasOwn(value, key)) fail(path, `${pathText([...path, key])} is missing`);
    }
    for (const [key, known] of Object.entries(properties ?? {})) {
      if (Object.hasOwn(value, key)) continue;
      const given = this.#defaultOf(known, [...path, key]);
      if (given !== undefined) out.push([key, given]);
    }
    return Object.fromEntries(out);
  }

  /** What a key that was not given becomes: its default, whose own keys have defaults too. */
  #defaultOf(schema: Schema, path: (string | number)[]): Json | undefined {
    const target = schema.$ref ? this.#resolve(schema.$ref) : schema;
    return target.default === undefined ? undefined : this.check(target, structuredClone(target.default), path);
  }

  #anyOf(schema: Schema, value: Json, path: (string | number)[]): Json {
    let deepest: Fault | undefined;
    for (const one of schema.anyOf!) {
      try {
        return this.check(one, value, path);
      } catch (thrown) {
        if (!(thrown instanceof FaultThrown)) throw thrown;
        if (thrown.fault.path.length > (deepest?.path.length ?? path.length)) deepest = thrown.fault;
      }
    }
    if (deepest) throw new FaultThrown(deepest);
    return fail(path, `${pathText(path)} has to be ${wanted(schema)}, not ${JSON.stringify(value)}`);
  }

  #resolve(ref: string): Schema {
    if (ref === "#") return this.#root;
    const target = this.#root.$defs?.[ref.replace("#/$defs/", "")];
    if (!target) throw new TypeError(`schema has no ${ref}`);
    return target;
  }
}

function checkNumber(schema: Schema, value: number, path: (string | number)[]): void {
  const { minimum = -Infinity, maximum = Infinity } = schema;
  if (value >= minimum && value <= maximum) return;
  fail(path, `${pathText(path)} is ${value}, and has to be ${wanted(schema)}`);
}

/** What a schema takes, for a person. */
function wanted(schema: Schema): string {
  if (schema.enum) {
    return (schema.enum.length > 1 ? "one of " : "") + schema.enum.map((one) => JSON.stringify(one)).join(", ");
  }
  if (schema.anyOf) return schema.anyOf.map(wanted).join(" or ");
  const types = [schema.type ?? "object"].flat().map((type) => (/^[aeio]/.test(type) ? "an " : "a ") + type).join(
    " or ",
  );
  const { minimum, maximum, items } = schema;
  if (minimum !== undefined && maximum !== undefined) return `${types} from ${minimum} to ${maximum}`;
  if (minimum !== undefined) return `${types} of at least ${minimum}`;
  if (maximum !== undefined) return `${types} of at most ${maximum}`;
  return items?.type ? `${types} of ${items.type}s` : types;
}

function unknownKey(key: string, path: (string | number)[], known: string[]): string {
  const where = path.length > 0 ? ` in ${pathText(path)}` : "";
  const near = known.map((name) => ({ name, far: distance(key, name) })).sort((a, b) => a.far - b.far)[0];
  const hint = near && near.far <= 2
    ? `did you mean ${JSON.stringify(near.name)}?`
    : `known: ${known.join(", ") || "none"}`;
  return `unknown key ${JSON.stringify(key)}${where} (${hint})`;
}

/** Letters to change, add or take away to make one word the other (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}

function isType(value: Json, type: TypeName): boolean {
  if (type === "integer") return Number.isSafeInteger(value);
  const actual = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
  return actual === type;
}

function fail(path: (string | number)[], message: string, on: "key" | "value" = "value"): never {
  throw new FaultThrown({ path, on, message });
}
