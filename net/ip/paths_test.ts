import assert from "node:assert/strict";
import { ipFromV4, V4_BITS } from "../addr.ts";
import { ipOf, Wire } from "../stack_fixture.ts";

Deno.test("answers to a flood from everywhere go by one path that is turned around, and throw no other out", () => {
  const wire = new Wire(), stack = wire.stack();
  wire.connect(stack, ["10.0.0.2/24", "fd00::2/64"]);
  const rest = { iface: 1, tag: "", metric: 0, expiresAt: Infinity };
  stack.ip.addRoute({ prefix: { addr: ipFromV4(0), bits: V4_BITS }, gateway: ipOf("10.0.0.1"), ...rest });
  const { paths } = stack.ip, local = ipOf("10.0.0.2"), friend = paths.find(ipOf("1.2.3.4"), local);
  const first = paths.once(ipFromV4(0x08000000), local);
  for (let i = 1; i < 10_000; i++) {
    const remote = ipFromV4(0x08000000 + i), path = paths.once(remote, local);
    assert.equal(path, first);
    assert.ok(typeof path !== "string");
    assert.deepEqual(path.remote, remote);
    assert.deepEqual(path.template.subarray(-4), remote.subarray(-4));
  }
  assert.equal(paths.find(ipOf("1.2.3.4"), local), friend);
  assert.equal(paths.once(ipOf("1.2.3.4"), local), friend);
  assert.notEqual(paths.once(ipOf("fd00::9"), ipOf("fd00::2")), first);
});

Deno.test("a path for one answer is as one that is kept: its sums, its hop, and why there is none", () => {
  const wire = new Wire(), stack = wire.stack();
  wire.connect(stack, ["10.0.0.2/24", "fd00::2/64"]);
  const { paths } = stack.ip;
  for (const [remote, local] of [["10.0.0.77", "10.0.0.2"], ["fd00::77", "fd00::2"]]) {
    paths.once(ipOf(remote.replace("77", "66")), ipOf(local));
    const once = paths.once(ipOf(remote), ipOf(local));
    assert.ok(typeof once !== "string");
    const sum = once.pseudoSum(6, 40), { mtu, template } = once, bytes = template.slice();
    const kept = paths.find(ipOf(remote), ipOf(local));
    assert.ok(typeof kept !== "string" && kept !== once);
    assert.equal(kept.pseudoSum(6, 40), sum);
    assert.equal(kept.mtu, mtu);
    // But for IPv6's flow label, which differs between ends.
    assert.deepEqual(kept.template.slice(18), bytes.slice(18));
  }
  assert.equal(paths.once(ipOf("8.8.8.8"), ipOf("10.0.0.2")), "no route");
  assert.equal(paths.once(ipOf("10.0.0.5"), ipOf("10.0.0.3")), "no source address");
  assert.equal(paths.once(ipOf("fd00::5"), ipOf("10.0.0.2")), "no source address");
});
