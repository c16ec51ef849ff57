import assert from "node:assert/strict";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";

/** What deno-9p takes from outside its folder: the file contract, and the host's transports. */
const OUTSIDE = ["core/clock.ts", "core/dev.ts", "core/err.ts", "core/host/errors.ts", "core/host/transports.ts"];

Deno.test("deno-9p needs nothing of the rest of ring9, and no package", async () => {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const args = ["info", "--json", "core/p9/mod.ts"];
  const { stdout } = await new Deno.Command(Deno.execPath(), { args, cwd: root }).output();
  const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as { modules: { specifier: string }[] };
  const files = modules.map(({ specifier }) => specifier)
    .map((url) => url.startsWith("file:") ? relative(root, fileURLToPath(url)) : url)
    .filter((path) => !path.startsWith("node:"));
  assert.ok(files.includes("core/p9/client.ts"));
  assert.deepEqual(files.filter((path) => !path.startsWith("core/p9/")).sort(), OUTSIDE);
});
