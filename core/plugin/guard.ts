/**
 * guard: stands between a plugin's Dev and those who call it, so that a programmer's error stays inside.
 *
 * Layer: core/plugin, used where a plugin is started, at every placement. What a Dev throws that is no `Err` (a
 * TypeError, a failed assertion) goes to the log with its stack; who asked gets EIO and the plugin's name, and nothing
 * of its insides. An error of the host that has a code of the table (`Deno.errors.NotFound`) becomes that code.
 *
 * What holds always: an operation that answers at once still does, and the Dev stays the object that it was, since its
 * Chans name it.
 */

import { Dev } from "../dev.ts";
import { type Code, Err, ERRORS } from "../err.ts";

/** Who is guarded, and where what it did wrong is told. */
export interface GuardOptions {
  name: string;
  log(text: string): void;
}

/** Operations that are called most, and so are guarded without an array of arguments. */
const OFTEN = ["walk", "open", "stat", "read", "write", "readdir", "clunk"] as const;

/** Guards `dev` from here on; answers it. */
export function guard<T extends Dev>(dev: T, options: GuardOptions): T {
  if (!Object.isExtensible(dev)) return dev;
  const fail = (thrown: unknown): never => {
    throw inward(thrown, options);
  };
  const own = dev as unknown as Record<string, Operation>;
  for (const name of OFTEN) {
    if (typeof own[name] === "function") own[name] = guardOften(dev, own[name], fail);
  }
  for (const name of Object.getOwnPropertyNames(Dev.prototype)) {
    const operation = own[name];
    if (name === "constructor" || typeof operation !== "function") continue;
    if (!(OFTEN as readonly string[]).includes(name)) own[name] = guardSeldom(dev, operation, fail);
  }
  own.attach = guardSeldom(dev, own.attach, fail);
  return dev;
}

type Operation = (...args: unknown[]) => unknown;
type Fail = (thrown: unknown) => never;

function guardOften(dev: Dev, operation: Operation, fail: Fail): Operation {
  return (a, b, c, d, e) => {
    try {
      const answer = operation.call(dev, a, b, c, d, e);
      return answer instanceof Promise ? answer.then(undefined, fail) : answer;
    } catch (thrown) {
      fail(thrown);
    }
  };
}

function guardSeldom(dev: Dev, operation: Operation, fail: Fail): Operation {
  return (...args) => {
    try {
      const answer = operation.apply(dev, args);
      return answer instanceof Promise ? answer.then(undefined, fail) : answer;
    } catch (thrown) {
      fail(thrown);
    }
  };
}

/** What who asked gets for what was thrown. */
function inward(thrown: unknown, { name, log }: GuardOptions): Err {
  if (thrown instanceof Err) return thrown;
  if (thrown instanceof Error && thrown.name === "AbortError") return new Err("EINTR");
  log(`internal error: ${thrown instanceof Error ? thrown.stack ?? thrown.message : String(thrown)}`);
  const code = (thrown as { code?: unknown } | null)?.code;
  if (typeof code === "string" && Object.hasOwn(ERRORS, code)) {
    return new Err(code as Code, undefined, { cause: thrown });
  }
  return new Err("EIO", `plugin ${name}: internal error (its log says which)`, { cause: thrown });
}
