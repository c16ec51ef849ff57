/**
 * The 9P conformance suite over a booted node: through a unix socket, the name space, and ram at each placement. The
 * same bytes and the same answers at every distance.
 */

import assert from "node:assert/strict";
import { dial } from "../../core/host/transports.ts";
import { bootNode, type TestNode } from "../node.ts";
import { p9Conformance } from "./p9_suite.ts";

const PLACEMENTS = ["inline", "isolate", "process"] as const;

let node: TestNode;
let trees = 0;

Deno.test.beforeAll(async () => {
  node = await bootNode();
  await using client = await node.connect();
  for (const placement of PLACEMENTS) {
    const name = `ram_${placement}`;
    await client.writeFile("/sys/plugins/ctl", `load ram as ${name} placement ${placement} mode=1777`);
    await client.writeFile("/proc/1/ns", `bind -c '#${name}' /n/${name}\n`);
  }
});

Deno.test.afterAll(async () => {
  assert.equal(await node.stop(), 0);
});

for (const placement of PLACEMENTS) {
  p9Conformance(`ram, ${placement}, over a socket`, async () => {
    await using client = await node.connect();
    const path = `/n/ram_${placement}/tree${++trees}`;
    await client.mkdir(path, 0o777);
    await client.wstat(path, { mode: (0x80000000 | 0o777) >>> 0 });
    return {
      aname: path,
      connect: () => dial(node.address),
      close() {},
    };
  });
}
