import assert from "node:assert/strict";
import { contains, formatPrefix, isIpv4, maskIp, parseIp, parsePrefix, V4_BITS } from "../addr.ts";
import { Random } from "../wire/wire_fixture.ts";
import { LIMITS } from "./limits.ts";
import { type Route, Routes } from "./routes.ts";

function route(text: string, more: Partial<Route> = {}): Route {
  const prefix = text === "::/0" ? { addr: new Uint8Array(16), bits: 0 } : parsePrefix(text)!;
  return { prefix, gateway: undefined, iface: 1, tag: "", metric: 0, expiresAt: Infinity, ...more };
}

function found(routes: Routes, to: string): string | undefined {
  const answer = routes.lookup(parseIp(to)!);
  return answer && formatPrefix(answer.prefix);
}

Deno.test("the longest prefix wins, and IPv6's default is not IPv4's", () => {
  const routes = new Routes();
  for (const text of ["::/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32"]) routes.add(route(text));
  assert.equal(found(routes, "10.1.2.3"), "10.1.2.3/32");
  assert.equal(found(routes, "10.1.2.4"), "10.1.0.0/16");
  assert.equal(found(routes, "10.9.9.9"), "10.0.0.0/8");
  assert.equal(found(routes, "192.168.0.1"), undefined);
  assert.equal(found(routes, "2001:db8::1"), "2001:db8::/32");
  assert.equal(found(routes, "2002::1"), "::/0");
});

Deno.test("lookup() agrees with a plain search, whatever is added and removed", () => {
  for (let seed = 1; seed <= 8; seed++) {
    const random = new Random(seed), routes = new Routes(), model: Route[] = [];
    for (let i = 0; i < 300; i++) {
      const bits = V4_BITS + random.below(33),
        addr = parseIp(`10.${random.below(3)}.${random.below(3)}.${random.below(9)}`)!;
      const prefix = { addr: maskIp(addr, bits), bits };
      const same = model.findIndex((r) => formatPrefix(r.prefix) === formatPrefix(prefix));
      if (same >= 0) model.splice(same, 1);
      if (random.below(3) === 0) assert.equal(routes.remove(prefix), same >= 0 ? 1 : 0, `seed ${seed}`);
      else {
        const made = { ...route("10.0.0.0/8"), prefix };
        model.push(made);
        routes.add(made);
      }
      assert.equal(routes.count, model.length, `seed ${seed}`);
      const fits = model.filter((r) => contains(r.prefix, addr) && isIpv4(r.prefix.addr));
      const best = fits.sort((a, b) => b.prefix.bits - a.prefix.bits)[0];
      assert.equal(routes.lookup(addr), best, `seed ${seed}`);
    }
  }
});

Deno.test("of several routes to one prefix the one of the lowest metric that is usable is taken; else any", () => {
  const routes = new Routes(), [a, b] = ["10.0.0.1", "10.0.0.2"].map((text) => parseIp(text)!);
  routes.add(route("0.0.0.0/0", { gateway: b, metric: 2 }));
  routes.add(route("0.0.0.0/0", { gateway: a, metric: 1 }));
  const to = parseIp("8.8.8.8")!;
  assert.equal(routes.lookup(to)?.gateway, a);
  assert.equal(routes.lookup(to, (r) => r.gateway !== a)?.gateway, b);
  assert.equal(routes.lookup(to, () => false)?.gateway, a);
  routes.add(route("0.0.0.0/0", { gateway: a, metric: 3 }));
  assert.equal(routes.count, 2);
  assert.equal(routes.lookup(to)?.gateway, b);
});

Deno.test("routes expire, are bounded in number, and leave nothing behind", () => {
  const routes = new Routes();
  routes.add(route("10.0.0.0/8", { expiresAt: 50 }));
  assert.equal(routes.expire(49), 50);
  assert.equal(routes.count, 1);
  assert.equal(routes.expire(50), Infinity);
  assert.equal(routes.count, 0);
  for (let i = 0; i < LIMITS.routes; i++) assert.ok(routes.add(route(`10.${i >> 8 & 255}.${i & 255}.0/24`)));
  assert.equal(routes.add(route("11.0.0.0/8")), false);
  assert.equal(routes.removeIf(() => true), LIMITS.routes);
  assert.deepEqual(routes.list(), []);
});
