/**
 * The 9P conformance suite over ext2 in a booted node: through a unix socket and the name space, with the plugin in the
 * kernel's isolate and in a process of its own.
 */

import assert from "node:assert/strict";
import { dial } from "../../core/host/transports.ts";
import { bootNode, type TestNode } from "../node.ts";
import { p9Conformance } from "./p9_suite.ts";

const PLACEMENTS = ["inline", "process"] as const;

let node: TestNode;
let trees = 0;

Deno.test.beforeAll(async () => {
  node = await bootNode();
  await using client = await node.connect();
  for (const placement of PLACEMENTS) {
    const name = `ext2_${placement}`, load = `load ext2 as ${name} placement ${placement} volumes='["m=ram!32M"]'`;
    await client.writeFile("/sys/plugins/ctl", load);
    await client.writeFile("/proc/1/ns", `bind -c '#${name}.m' /n/${name}\n`);
  }
});

Deno.test.afterAll(async () => {
  assert.equal(await node.stop(), 0);
});

for (const placement of PLACEMENTS) {
  p9Conformance(`ext2, ${placement}, over a socket`, async () => {
    await using client = await node.connect();
    const path = `/n/ext2_${placement}/tree${++trees}`;
    await client.mkdir(path, 0o777);
    await client.wstat(path, { mode: (0x80000000 | 0o777) >>> 0 });
    return {
      aname: path,
      connect: () => dial(node.address),
      close() {},
    };
  });
}
