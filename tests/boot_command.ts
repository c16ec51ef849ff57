/**
 * The command that boots, as a person runs it: typed to, and read to its end.
 *
 * Layer: tests. A node that goes on beside a test is node.ts.
 */

const ROOT = new URL("../", import.meta.url), CONFIG = new URL("deno.json", ROOT).pathname;

/** Where it runs, what is typed, and what stands in its environment beside what stands in ours. */
export interface BootCommand {
  input?: string;
  env?: Record<string, string>;
  cwd?: string | URL;
}

/** Runs `deno task boot` to its end: what it says, and its exit status. */
export async function runBoot(
  args: string[],
  { input = "", env = {}, cwd = ROOT }: BootCommand = {},
): Promise<{ code: number; text: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "--config", CONFIG, "boot", ...args],
    cwd,
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}
