import assert from "node:assert/strict";
import { formatIp, parseIp } from "../addr.ts";
import { Wire } from "../stack_fixture.ts";
import type { Address, Iface } from "./iface.ts";
import { chooseSource } from "./source.ts";

function choose(
  to: string,
  own: string[],
  others: string[] = [],
  more: Partial<Record<string, Partial<Address>>> = {},
) {
  const wire = new Wire(), stack = wire.stack();
  const out = wire.connect(stack, own), other = wire.connect(stack, others);
  for (const iface of [out, other]) for (const a of iface.addresses) Object.assign(a, more[formatIp(a.ip)]);
  const answer = chooseSource(parseIp(to)!, out, [out, other] as Iface[]);
  return answer && formatIp(answer);
}

Deno.test("the source is chosen by the rules of RFC 6724, section 5", () => {
  // Rule 1: the same address.
  assert.equal(choose("2001:db8::1", ["2001:db8::2/64", "2001:db8::1/64"]), "2001:db8::1");
  // Rule 2: a scope that is wide enough, and no wider.
  assert.equal(choose("2001:db8::9", ["fe80::1/64", "2001:db8:1::1/64"]), "2001:db8:1::1");
  assert.equal(choose("fe80::9", ["2001:db8:1::1/64", "fe80::1/64"]), "fe80::1");
  assert.equal(choose("ff02::9", ["2001:db8:1::1/64", "fe80::1/64"]), "fe80::1");
  // Rule 3: none that is deprecated.
  const old = { "2001:db8::1": { preferredUntil: 0 } };
  assert.equal(choose("2001:db8::9", ["2001:db8::1/64", "2001:db8:1::1/64"], [], old), "2001:db8:1::1");
  // Rule 5: of the outgoing interface.
  assert.equal(choose("2001:db8::9", ["2001:db8:1::1/64"], ["2001:db8::1/64"]), "2001:db8:1::1");
  // Rule 6: the same label.
  assert.equal(choose("fd00::9", ["2001:db8::1/64", "fd01::1/64"]), "fd01::1");
  // Rule 8: the longest common prefix.
  assert.equal(choose("2001:db8:1::9", ["2001:db8:2::1/64", "2001:db8:1::1/64"]), "2001:db8:1::1");
  assert.equal(choose("10.2.0.9", ["10.1.0.1/16", "10.2.0.1/16"]), "10.2.0.1");
});

Deno.test("an interface without an address borrows one from another, but no link-local one", () => {
  assert.equal(choose("2001:db8::9", [], ["fe80::1/64", "2001:db8:5::1/64"]), "2001:db8:5::1");
  assert.equal(choose("fe80::9", [], ["fe80::1/64"]), undefined);
  assert.equal(choose("10.0.0.9", ["2001:db8::1/64"]), undefined);
});

Deno.test("a temporary address is preferred where the interface is told so, a tentative one never used", () => {
  const wire = new Wire(), stack = wire.stack(), out = wire.connect(stack, ["2001:db8::1/64", "2001:db8::2/64"]);
  out.addresses[1].origin = "temporary";
  const to = parseIp("2001:db8:9::9")!;
  assert.equal(formatIp(chooseSource(to, out, [out])!), "2001:db8::1");
  out.autoconf.privacy = true;
  assert.equal(formatIp(chooseSource(to, out, [out])!), "2001:db8::2");
  out.addresses[1].state = "tentative";
  assert.equal(formatIp(chooseSource(to, out, [out])!), "2001:db8::1");
});
