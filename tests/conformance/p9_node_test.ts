/**
 * The 9P conformance suite over a booted node: through a unix socket, the name space, and a plugin at each placement it
 * can have. The same bytes and the same answers at every distance.
 */

import assert from "node:assert/strict";
import { dial } from "../../core/host/transports.ts";
import { bootNode, type TestNode } from "../node.ts";
import { p9Conformance } from "./p9_suite.ts";

/** What is tried: the plugin, the options it is loaded with, and the tree that it then serves. */
const CASES = [
  { plugin: "ram", placements: ["inline", "isolate", "process"], options: "mode=1777", tree: "" },
  { plugin: "ext2", placements: ["inline", "process"], options: `volumes='["m=ram!32M"]'`, tree: ".m" },
];

let node: TestNode;
let trees = 0;

Deno.test.beforeAll(async () => {
  node = await bootNode();
  await using client = await node.connect();
  for (const { plugin, placements, options, tree } of CASES) {
    for (const placement of placements) {
      const name = `${plugin}_${placement}`;
      await client.writeFile("/sys/plugins/ctl", `load ${plugin} as ${name} placement ${placement} ${options}`);
      await client.writeFile("/proc/1/ns", `bind -c '#${name}${tree}' /n/${name}\n`);
    }
  }
});

Deno.test.afterAll(async () => {
  assert.equal(await node.stop(), 0);
});

for (const { plugin, placements } of CASES) {
  for (const placement of placements) {
    p9Conformance(`${plugin}, ${placement}, over a socket`, async () => {
      await using client = await node.connect();
      const path = `/n/${plugin}_${placement}/tree${++trees}`;
      await client.mkdir(path, 0o777);
      await client.wstat(path, { mode: (0x80000000 | 0o777) >>> 0 });
      return {
        aname: path,
        connect: () => dial(node.address),
        close() {},
      };
    });
  }
}
