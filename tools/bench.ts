/**
 * `deno task bench [NAME...]`: runs the programs `bench/NAME_bench.ts`, all of them when none is named, one after the
 * other. Flags that begin with `--` go to each.
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
if (unknown.length > 0) {
  console.error(`no benchmark is called ${unknown.join(", ")}; there are: ${known.join(" ")}`);
  Deno.exit(2);
}
let failed = false;
for (const name of wanted.length > 0 ? wanted : known) {
  console.error(`--- ${name}`);
  const args = ["run", ...RUN_FLAGS, `bench/${name}${SUFFIX}`, ...flags];
  failed = !(await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).spawn().status).success || failed;
}
Deno.exit(failed ? 1 : 0);
