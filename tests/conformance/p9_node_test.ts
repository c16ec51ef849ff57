/**
 * The 9P conformance suite over a booted node: through a unix socket, the name space, and ram at each placement. The
 * same bytes and the same answers at every distance.
 */

import { dial } from "../../core/host/transports.ts";

import { bootNode, type TestNode } from "../node.ts";
import { p9Conformance } from "./p9_suite.ts";

let node: TestNode | undefined;
let trees = 0;

/** A node with a ram at each placement, booted by the first test that needs it. */
async function sharedNode(): Promise<TestNode> {
  if (node) return node;
  node = await bootNode();
  await using client = await node.connect();
  for (const placement of PLACEMENTS) {
    const name = `ram_${placement}`;
    await client.writeFile("/sys/plugins/ctl", `load ram as ${name} placement ${placement} mode=1777`);
    await client.writeFile("/proc/1/ns", `bind -c '#${name}' /n/${name}\n`);
  }
  return node;
}

const PLACEMENTS = ["inline", "isolate", "process"] as const;

for (const placement of PLACEMENTS) {
  p9Conformance(`ram, ${placement}, over a socket`, async () => {
    const { connect, address } = await sharedNode();
    await using client = await connect();
    const path = `/n/ram_${placement}/tree${++trees}`;
    await client.mkdir(path, 0o777);
    await client.wstat(path, { mode: (0x80000000 | 0o777) >>> 0 });
    return {
      aname: path,
      connect: () => dial(address),
      close() {},
    };
  });
}

Deno.test("the node of the conformance suite ends cleanly", async () => {
  await node?.stop();
  node = undefined;
});
