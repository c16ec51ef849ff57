/**
 * The flags that Deno is run with in tests and benchmarks, in one place.
 *
 * Layer: tools. Without the V8 flag some optimised loops lose their interrupt checks, and can be neither killed nor
 * kept to a heap limit. Nothing is fetched: the project has no dependency.
 */

/** For `deno run` and `deno test`. */
export const RUN_FLAGS = ["-A", "--no-prompt", "--no-npm", "--no-remote", "--v8-flags=--no-turboshaft-loop-unrolling"];

/** The repository's root, with a slash at its end. */
export const ROOT: string = new URL("../", import.meta.url).pathname;

/** What a program printed, and how it ended. */
export interface Outcome {
  ok: boolean;
  /** Its exit status. */
  code: number;
  output: string;
}

/** Runs Deno in the repository, and keeps what it prints. */
export async function deno(args: string[], env: Record<string, string> = {}): Promise<Outcome> {
  const command = new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env, stdout: "piped", stderr: "piped" });
  const { success, code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { ok: success, code, output: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** Text without the colours of a terminal. */
export function plain(text: string): string {
  // deno-lint-ignore no-control-regex -- the escape character begins a colour
  return text.replace(/\x1b\[[0-9;]*m/g, "");
}
