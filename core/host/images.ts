/**
 * Where images are, and what they say.
 *
 * Layer: core/host, beside node.ts. An image is a folder with an image.json: one of images/ by its name, or any by its path.
 */

import { fileURLToPath, pathToFileURL } from "node:url";
import { Err } from "../err.ts";
import { quote } from "../path.ts";
import { type Image, parseImage } from "../plugin/image.ts";

/** The folder of an image, as a URL that ends with a slash; `project` is the folder that holds images/. */
export function imageFolder(project: URL, name: string): URL {
  return /^\.{0,2}\//.test(name) ? pathToFileURL(`${name}/`) : new URL(`images/${name}/`, project);
}

/** Reads an image. ENOENT with the names of those that are there; what is wrong with it says its place. */
export function readImage(project: URL, name: string): Image {
  const path = fileURLToPath(new URL("image.json", imageFolder(project, name)));
  try {
    return parseImage(Deno.readTextFileSync(path), path);
  } catch (e) {
    if (!(e instanceof Deno.errors.NotFound || e instanceof Deno.errors.NotADirectory)) throw e;
    const known = [...Deno.readDirSync(new URL("images/", project))].filter((d) => d.isDirectory).map((d) => d.name);
    throw new Err(
      "ENOENT",
      `no image is called ${quote(name)} (there are: ${known.join(", ")}; or give a path to one)`,
    );
  }
}
