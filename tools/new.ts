/**
 * `deno task new plugin NAME [--dir DIR]`: makes the folder of a plugin, whose generated test passes at once.
 *
 * Layer: tools. Inside the repository the folder is plugins/NAME; with --dir it is DIR/NAME, anywhere, with a
 * deno.json of its own that finds this checkout.
 */

import { existsSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { EX_USAGE, readArgs, UsageError } from "../cmd/args.ts";
import { ROOT } from "./flags.ts";

const USAGE =
  "usage: deno task new plugin NAME [--dir DIR]\n  NAME: lower-case letters, digits, - and _, a letter first";

/** What cannot be done, said to a person. */
export class Refusal extends Error {}

/** Makes a plugin's folder and answers its path. Refused: a bad name, and a folder that is there. */
export function newPlugin(name: string, parent?: string): string {
  if (!/^[a-z][a-z0-9_-]{0,31}$/.test(name)) throw new Refusal(`"${name}" cannot be the name of a plugin\n${USAGE}`);
  const folder = resolve(parent ?? join(ROOT, "plugins"), name);
  const outside = relative(ROOT, folder).startsWith("..");
  try {
    Deno.mkdirSync(dirname(folder), { recursive: true });
    Deno.mkdirSync(folder);
  } catch (thrown) {
    const isThere = thrown instanceof Deno.errors.AlreadyExists && existsSync(folder);
    throw new Refusal(isThere ? `${folder} is there already: take another name` : (thrown as Error).message);
  }
  const home = relative(folder, ROOT);
  const files = { ...pluginFiles(name, home), ...(outside ? { "deno.json": denoJson(home) } : {}) };
  for (const [file, text] of Object.entries(files)) Deno.writeTextFileSync(join(folder, file), text);
  return folder;
}

function pluginFiles(name: string, home: string): Record<string, string> {
  return {
    "mod.ts": `/** ${name}: says what it is here, in a line or two. */

import { ctl, definePlugin, tree } from "ring9/plugin";

export default definePlugin({
  start(ctx) {
    let greeting = ctx.options["greeting"] as string;
    return tree({
      greeting: () => \`\${greeting}\\n\`,
      ctl: ctl({
        "greet text:text": { help: "sets the greeting", run: (text) => void (greeting = text) },
      }),
    }, ctx);
  },
});
`,
    "plugin.json": json({
      $schema: join(home, "core/plugin/plugin.schema.json"),
      name,
      version: "0.1.0",
      api: 1,
      description: "what it is, in one line",
      serves: [`/n/${name}`],
      options: {
        properties: { greeting: { type: "string", default: "hello", description: "what greeting reads as" } },
      },
    }),
    "mod_test.ts": `import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { start } from "ring9/testing";
import plugin from "./mod.ts";

const manifest = readFileSync(new URL("plugin.json", import.meta.url), "utf8");

Deno.test("${name}: a greeting is read, and set by a command", async () => {
  await using running = await start(plugin, { manifest });
  const { files } = running;
  assert.deepEqual(await files.list("/"), ["greeting", "ctl"]);
  assert.equal(await files.read("greeting"), "hello\\n");
  await files.write("ctl", "greet good morning");
  assert.equal(await files.read("greeting"), "good morning\\n");
});

Deno.test("${name}: an unknown command is refused", async () => {
  await using running = await start(plugin, { manifest });
  await assert.rejects(running.files.write("ctl", "shout"), { code: "EINVAL" });
});
`,
    [`${name}.md`]: `# ${name}

What it is, in one line.

| file | |
|---|---|
| \`greeting\` | the greeting, read-only |
| \`ctl\` | commands: \`greet TEXT\` sets the greeting. Reading it lists them |

Options: \`greeting\` (text, \`hello\`).
`,
  };
}

function denoJson(home: string): string {
  return json({
    imports: {
      "ring9/plugin": join(home, "core/plugin/author.ts"),
      "ring9/testing": join(home, "core/plugin/testing.ts"),
    },
    fmt: { lineWidth: 120, exclude: ["**/*.md"] },
  });
}

function json(value: unknown): string {
  return JSON.stringify(value, null, 2) + "\n";
}

function main(): number {
  try {
    const { positionals, values } = readArgs({
      allowPositionals: true,
      options: { dir: { type: "string" }, help: { type: "boolean", short: "h" } },
    });
    if (values.help) return console.log(USAGE), 0;
    if (positionals.length !== 2 || positionals[0] !== "plugin") throw new Refusal(`what is to be made?\n${USAGE}`);
    const folder = newPlugin(positionals[1], values.dir);
    const test = values.dir ? `cd ${folder} && deno test -R` : `deno task test ${relative(ROOT, folder)}`;
    const named = values.dir ? folder : positionals[1];
    console.log(`made ${folder}
its tree is in mod.ts; test it:  ${test}
load it into a node that runs:   echo 'load ${named}' | deno task 9p write ADDRESS /sys/plugins/ctl
and after each change:           echo reload | deno task 9p write ADDRESS /sys/plugins/${positionals[1]}/ctl`);
    return 0;
  } catch (thrown) {
    if (!(thrown instanceof Refusal || thrown instanceof UsageError)) throw thrown;
    console.error(`new: ${thrown.message}`);
    return EX_USAGE;
  }
}

if (import.meta.main) Deno.exit(main());
