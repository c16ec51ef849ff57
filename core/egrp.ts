/**
 * Egrp: environment variables, which a group of processes shares.
 *
 * Layer: core, a leaf. `#env` shows a proc's group as files. See env(3) and rfork(2) of Plan 9.
 */

import { Err } from "./err.ts";

/** Bytes of one variable at the most, and of all of a group's. */
export const MAX_VARIABLE_BYTES = 64 * 1024, MAX_ENV_BYTES = 1 << 20;

/** A variable. */
export interface Variable {
  readonly name: string;
  /** Its own for its whole life: a variable that is made again has another. */
  readonly path: number;
  value: Uint8Array;
  vers: number;
  /** Milliseconds since 1970. */
  mtimeMs: number;
}

let nextPath = 1;

/** The variables of a group. */
export class Egrp {
  readonly variables = new Map<string, Variable>();
  #bytes = 0;

  /** A group of its own with the same values. */
  copy(): Egrp {
    const twin = new Egrp();
    twin.#bytes = this.#bytes;
    for (const [name, variable] of this.variables) {
      twin.variables.set(name, { ...variable, path: nextPath++, value: variable.value.slice() });
    }
    return twin;
  }

  get(name: string): string | undefined {
    const variable = this.variables.get(name);
    return variable && new TextDecoder().decode(variable.value);
  }

  set(name: string, value: string, nowMs = 0): void {
    this.change(this.variables.get(name) ?? this.add(name, nowMs), new TextEncoder().encode(value), nowMs);
  }

  /** A new, empty variable. */
  add(name: string, nowMs: number): Variable {
    if (this.variables.has(name)) throw new Err("EEXIST");
    const variable = { name, path: nextPath++, value: new Uint8Array(), vers: 0, mtimeMs: nowMs };
    this.variables.set(name, variable);
    return variable;
  }

  change(variable: Variable, value: Uint8Array, nowMs: number): void {
    const bytes = this.#bytes + value.length - variable.value.length;
    if (value.length > MAX_VARIABLE_BYTES) throw new Err("EFBIG", `a variable takes ${MAX_VARIABLE_BYTES} bytes`);
    const here = this.variables.get(variable.name) === variable;
    if (here && bytes > MAX_ENV_BYTES) throw new Err("ENOSPC", `an environment takes ${MAX_ENV_BYTES} bytes`);
    if (here) this.#bytes = bytes;
    variable.value = value;
    variable.vers++;
    variable.mtimeMs = nowMs;
  }

  remove(name: string): void {
    const variable = this.variables.get(name);
    if (!variable) throw new Err("ENOENT");
    this.#bytes -= variable.value.length;
    this.variables.delete(name);
  }
}
