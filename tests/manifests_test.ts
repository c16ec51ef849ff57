import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { parseImage } from "../core/plugin/image.ts";
import { levels } from "../core/plugin/levels.ts";
import { checkOptions, parseManifest } from "../core/plugin/manifest.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const text = (file: string) => readFileSync(ROOT + file, "utf8");
const manifests = globSync("{plugins,examples}/*/plugin.json", { cwd: ROOT }).sort();

Deno.test("each plugin.json of the repository is accepted, and named as its folder is", () => {
  assert(manifests.length > 0);
  for (const file of manifests) assert.equal(parseManifest(text(file), file).name, file.split("/")[1]);
});

Deno.test("each plugin and each example has a manual page of its name, which tells its options", () => {
  for (const file of manifests) {
    const { name, options } = parseManifest(text(file), file);
    const page = text(file.replace("plugin.json", `${name}.md`));
    assert.match(page, new RegExp(`^# ${name}\\b`), file);
    for (const option of Object.keys(options.properties ?? {})) assert.ok(page.includes(option), `${name}: ${option}`);
  }
});

Deno.test("each image boots plugins that are there, with options that they take, and needs that form no cycle", () => {
  for (const file of globSync("images/*/image.json", { cwd: ROOT })) {
    const image = parseImage(text(file), file);
    assert.equal(image.name, file.split("/")[1]);
    const plugins = image.plugins.map((entry) => {
      const home = entry.plugin.includes("/") ? entry.plugin : `plugins/${entry.plugin}`;
      const manifest = parseManifest(text(`${home}/plugin.json`), `${home}/plugin.json`);
      checkOptions(manifest, entry.options);
      return { ...manifest, name: entry.as };
    });
    levels(plugins, ["/"]);
  }
});
