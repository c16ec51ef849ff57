/**
 * Writes the JSON schemas that editors read, from the ones that the code checks: `deno run -A tools/schemas.ts`.
 *
 * Layer: tools, never imported at run time.
 */

import { IMAGE_SCHEMA } from "../core/plugin/image.ts";
import { MANIFEST_SCHEMA } from "../core/plugin/manifest.ts";

for (const [name, schema] of [["plugin", MANIFEST_SCHEMA], ["image", IMAGE_SCHEMA]] as const) {
  const file = new URL(`../core/plugin/${name}.schema.json`, import.meta.url);
  Deno.writeTextFileSync(file, JSON.stringify(schema, null, 2) + "\n");
}
