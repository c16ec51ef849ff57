/** Lists of CPUs, and topologies read from the text of /sys. */

import assert from "node:assert/strict";
import type { Err } from "../err.ts";
import { formatCpus, parseCpus } from "./cpulist.ts";
import { madeTopology, readTopology } from "./topology.ts";

Deno.test("lists of CPUs are parsed and formatted as Linux writes them", () => {
  assert.deepEqual(parseCpus("0-2,7\n"), [0, 1, 2, 7]);
  assert.deepEqual(parseCpus(""), []);
  assert.equal(formatCpus([7, 2, 1, 0, 1]), "0-2,7");
  for (const bad of ["a", "1-", "3-1", "0-99999999", "-1", "1,,x"]) {
    assert.throws(() => parseCpus(bad), (e: Err) => e.code === "EINVAL", bad);
  }
});

/** Two packages with two cores of two threads each, as Linux tells of them: 0 and 4 are threads of one core. */
function sys(path: string): string | undefined {
  const cpu = Number(/^cpu\/cpu(\d)\//.exec(path)?.[1]), core = cpu % 4, second = core >= 2;
  if (path === "node/online") return "0-1\n";
  if (path === "node/node0/cpulist") return "0-1,4-5\n";
  if (path === "node/node1/cpulist") return "2-3,6-7\n";
  if (path.endsWith("thread_siblings_list")) return `${core},${core + 4}\n`;
  if (path.endsWith("package_cpus_list")) return second ? "2-3,6-7\n" : "0-1,4-5\n";
  return undefined;
}

Deno.test("the topology is read from the text of /sys, for the CPUs that are allowed", () => {
  const t = readTopology(sys, [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual(t.siblings(5), [1, 5]);
  assert.deepEqual([0, 4, 1, 2].map((cpu) => t.distance(0, cpu)), [0, 1, 3, 5]);
  assert.deepEqual(readTopology(sys, [0, 1, 2]).siblings(1), [1], "a sibling that is not allowed is none");
  assert.match(t.text(), /^cpu siblings .*\n0 0,4 0 0 0\n/);
});

Deno.test("a machine that tells nothing has CPUs that share nothing", () => {
  const t = readTopology(() => undefined, [0, 1]);
  assert.deepEqual(t.siblings(1), [1]);
  assert.equal(t.distance(0, 1), 3, "one memory node");
});

Deno.test("a made-up machine of 256 CPUs has the distances of its shape", () => {
  const t = madeTopology({ packages: 2, cores: 64, threads: 2, cacheCores: 8 });
  assert.equal(t.cpus.length, 256);
  assert.deepEqual([128, 7, 8, 63, 64].map((cpu) => t.distance(0, cpu)), [1, 2, 3, 3, 5]);
  assert.throws(() => t.get(256), /there is no core 256 \(there are 0-255\)/);
});
