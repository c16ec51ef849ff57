/**
 * Archives of cpio.ts as the program cpio reads them.
 *
 * Needs: cpio (tools/apt-packages.txt).
 */

import assert from "node:assert/strict";
import { interop, program } from "../skip.ts";
import { writeCpio } from "./cpio.ts";
import { runBytes } from "./host.ts";

interop("cpio unpacks what writeCpio packed", { needs: [program("cpio")] }, async () => {
  const dir = await Deno.makeTempDir();
  const archive = writeCpio([
    { path: "dir" },
    { path: "dir/odd", data: "odd length\n", perm: 0o640 },
    { path: "dir/empty", data: "" },
    { path: "program", data: new Uint8Array(5000).fill(7), perm: 0o700 },
  ]);
  assert.equal(archive.length % 512, 0);
  const stdin = new Uint8Array(archive);
  const { status, stderr } = await runBytes("cpio", ["-i", "--quiet"], { cwd: dir, stdin });
  assert.equal(status, 0, stderr);
  assert.equal(await Deno.readTextFile(`${dir}/dir/odd`), "odd length\n");
  assert.equal((await Deno.stat(`${dir}/dir/odd`)).mode! & 0o777, 0o640);
  assert.equal((await Deno.stat(`${dir}/dir/empty`)).size, 0);
  assert.equal((await Deno.readFile(`${dir}/program`)).length, 5000);
  await Deno.remove(dir, { recursive: true });
});
