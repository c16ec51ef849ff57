import assert from "node:assert/strict";
import { formatIp, formatMac } from "../addr.ts";
import { emitNeighborAdvert, emitNeighborSolicit, emitRouterSolicit, FOREVER, NA, NDOPT, Ndp, RA } from "./ndp.ts";
import { abuse, hex, refusesCuts } from "./wire_fixture.ts";

const TARGET = "20010db8000000000000000000000002";
const PREFIX = "0304 40c0 ffffffff 00093a80 00000000 20010db8000100020000000000000000";
const solicit = hex(`8700 0000 00000000 ${TARGET} 0101 001122334455`);
const advert = hex(`8800 0000 60000000 ${TARGET} 0201 0a0b0c0d0e0f`);
const routerSolicit = hex("8500 0000 00000000 0101 001122334455");
const routerAdvert = hex(
  `8600 0000 40c0 0708 00007530 000003e8 0101 001122334455 0501 0000 000005dc ${PREFIX} ${
    PREFIX.replace("0001", "0003")
  }
  1905 0000 000004b0 20010db8000000000000000000000053 20010db8000000000000000000000054`,
);
const redirect = hex(`8900 0000 00000000 fe800000000000000000000000000001 ${TARGET} 0201 0a0b0c0d0e0f`);
const golden = [solicit, advert, routerSolicit, routerAdvert, redirect];

function parse(data: Uint8Array): Ndp {
  const ndp = new Ndp();
  assert.equal(ndp.parse(data), undefined);
  return ndp;
}

Deno.test("solicitations and advertisements of neighbours, and a redirect", () => {
  const ns = parse(solicit), na = parse(advert), re = parse(redirect);
  assert.equal(formatIp(ns.target), "2001:db8::2");
  assert.equal(formatMac(ns.linkAddress(ns.option(NDOPT.sourceLink))), "00:11:22:33:44:55");
  assert.equal(na.flags, NA.solicited | NA.override);
  assert.equal(formatMac(na.linkAddress(na.option(NDOPT.targetLink))), "0a:0b:0c:0d:0e:0f");
  assert.equal(na.option(NDOPT.sourceLink), -1);
  assert.deepEqual([formatIp(re.target), formatIp(re.destination)], ["fe80::1", "2001:db8::2"]);
  assert.equal(parse(routerSolicit).option(NDOPT.sourceLink), 8);
});

Deno.test("a router advertisement and all of its options", () => {
  const ra = parse(routerAdvert);
  assert.deepEqual([ra.hopLimit, ra.flags, ra.lifetimeS, ra.reachableMs, ra.retransMs], [
    64,
    RA.managed | RA.other,
    1800,
    30000,
    1000,
  ]);
  assert.equal(ra.optionMtu(ra.option(NDOPT.mtu)), 1500);
  const first = ra.option(NDOPT.prefix), info = ra.prefixInfo(first);
  assert.equal(formatIp(info.prefix), "2001:db8:1:2::");
  assert.deepEqual([info.bits, info.onLink, info.autonomous, info.validS, info.preferredS], [
    64,
    true,
    true,
    FOREVER,
    604800,
  ]);
  const second = ra.option(NDOPT.prefix, ra.optionEnd(first));
  assert.equal(formatIp(ra.prefixInfo(second).prefix), "2001:db8:3:2::");
  assert.equal(ra.option(NDOPT.prefix, ra.optionEnd(second)), -1);
  const { servers, lifetimeS } = ra.nameServers(ra.option(NDOPT.rdnss));
  assert.deepEqual([...servers.map(formatIp), lifetimeS], ["2001:db8::53", "2001:db8::54", 1200]);
});

Deno.test("what is emitted is what was parsed", () => {
  const emitted = (emit: (out: Uint8Array) => number) => {
    const out = new Uint8Array(64).fill(0xaa);
    return out.subarray(0, emit(out));
  };
  const mac = hex("001122334455"), target = hex(TARGET);
  assert.deepEqual(emitted((out) => emitNeighborSolicit(out, 0, { target, linkAddress: mac })), solicit);
  assert.deepEqual(emitted((out) => emitNeighborSolicit(out, 0, { target })), solicit.subarray(0, 24));
  const fields = { target, flags: NA.solicited | NA.override, linkAddress: hex("0a0b0c0d0e0f") };
  assert.deepEqual(emitted((out) => emitNeighborAdvert(out, 0, fields)), advert);
  assert.deepEqual(emitted((out) => emitRouterSolicit(out, 0, mac)), routerSolicit);
  assert.deepEqual(emitted((out) => emitRouterSolicit(out, 0)), routerSolicit.subarray(0, 8));
});

Deno.test("messages that RFC 4861 forbids are refused with the reason", () => {
  const refused = (data: Uint8Array, at: number, text: string) => {
    const changed = data.slice();
    changed.set(hex(text), at);
    return new Ndp().parse(changed);
  };
  assert.equal(refused(solicit, 1, "01"), "field", "a code");
  assert.equal(refused(solicit, 0, "80"), "field", "another type");
  assert.equal(refused(solicit, 8, "ff02"), "field", "a group as target");
  assert.equal(refused(solicit, 25, "00"), "option", "no length");
  assert.equal(refused(solicit, 25, "02"), "option", "a length behind the end");
  assert.equal(new Ndp().parse(solicit.subarray(0, 23)), "short");
  assert.equal(parse(hex("8500 0000 00000000 0301 400000000000")).option(NDOPT.prefix), -1, "too small for its kind");
});

Deno.test("no bytes make the view throw or read outside of the message", () => {
  const whole = (data: Uint8Array, optionsAt: number) => refusesCuts(new Ndp(), data.subarray(0, optionsAt));
  whole(solicit, 24);
  whole(advert, 24);
  whole(routerSolicit, 8);
  whole(routerAdvert, 16);
  whole(redirect, 40);
  abuse(new Ndp(), golden, (ndp) => {
    for (let kind = 0; kind < 256; kind++) {
      const at = ndp.option(kind);
      if (at < 0) continue;
      if (kind === NDOPT.sourceLink || kind === NDOPT.targetLink) ndp.linkAddress(at);
      if (kind === NDOPT.mtu) ndp.optionMtu(at);
      if (kind === NDOPT.prefix) ndp.prefixInfo(at);
      if (kind === NDOPT.rdnss) ndp.nameServers(at);
    }
  });
});
