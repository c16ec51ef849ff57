/**
 * `deno task bench [NAME...] [--FLAG=VALUE...]`: runs the programs `bench/NAME_bench.ts`, all of them when none is named, one
 * after the other. Flags go to each; `deno task bench NAME --help` lists those it knows.
 *
 * Layer: tools.
 */

import { ROOT, RUN_FLAGS } from "./flags.ts";

const SUFFIX = "_bench.ts";
const flags = Deno.args.filter((arg) => arg.startsWith("-"));
const wanted = Deno.args.filter((arg) => !arg.startsWith("-"));
const known = [...Deno.readDirSync(`${ROOT}bench`)].map((entry) => entry.name)
  .filter((name) => name.endsWith(SUFFIX)).map((name) => name.slice(0, -SUFFIX.length)).sort();
const unknown = wanted.filter((name) => !known.includes(name));
if (wanted.length === 0 && (flags.includes("--help") || flags.includes("-h"))) {
  console.log(
    `usage: deno task bench [NAME...] [--FLAG=VALUE...]\n\nNAME: ${
      known.join(" ")
    }\nits flags: deno task bench NAME --help`,
  );
  Deno.exit(0);
}
if (unknown.length > 0) {
  const advice = flags.length > 0 ? " (a flag's value stands behind a =)" : "";
  console.error(`no benchmark is called ${unknown.join(", ")}${advice}; there are: ${known.join(" ")}`);
  Deno.exit(2);
}
/** That of the first that failed. */
let status = 0;
for (const name of wanted.length > 0 ? wanted : known) {
  console.error(`--- ${name}`);
  const path = `bench/${name}${SUFFIX}`, isDenos = Deno.readTextFileSync(ROOT + path).includes("Deno.bench(");
  const args = isDenos ? ["bench", ...RUN_FLAGS, ...flags, path] : ["run", ...RUN_FLAGS, path, ...flags];
  const { code } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).spawn().status;
  status ||= code;
}
Deno.exit(status);
