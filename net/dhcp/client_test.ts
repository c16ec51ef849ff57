import assert from "node:assert/strict";
import { parseIpv4 } from "../addr.ts";
import { hex, Random } from "../wire/wire_fixture.ts";
import { DhcpClient, type DhcpClientOptions, type DhcpSend } from "./client.ts";
import type { Lease } from "./lease.ts";
import { DHCP_OPTION, DHCP_TYPE, type DhcpFields, DhcpMessage, encodeDhcp, long } from "./message.ts";

const MAC = hex("02 00 00 00 00 01"), SERVER = parseIpv4("10.0.0.1")!, ADDRESS = parseIpv4("10.0.0.7")!;
const { discover, offer, request, decline, ack, nak, release, inform } = DHCP_TYPE;

function client(more: Partial<DhcpClientOptions> = {}, seed = 1): DhcpClient {
  const random = new Random(seed);
  return new DhcpClient({ mac: MAC, random: () => random.below(0x7fffffff), ...more });
}

/** All that the client sends now. */
function sends(dhcp: DhcpClient, now: number): DhcpSend[] {
  const list: DhcpSend[] = [];
  for (let send = dhcp.poll(now); send !== undefined; send = dhcp.poll(now)) list.push(send);
  assert.ok(dhcp.pollAt() > now, `pollAt ${dhcp.pollAt()} at ${now}, state ${dhcp.state}`);
  return list;
}

function read(send: DhcpSend): DhcpMessage {
  const message = new DhcpMessage();
  assert.equal(message.parse(send.bytes), undefined);
  assert.deepEqual([...message.chaddr], [...MAC]);
  return message;
}

/** The only message that the client sends now. */
function sent(dhcp: DhcpClient, now: number): DhcpMessage & { dst: number; src: number } {
  const list = sends(dhcp, now);
  assert.equal(list.length, 1, `state ${dhcp.state}`);
  return Object.assign(read(list[0]), { dst: list[0].dst, src: list[0].src });
}

/** A server's message. */
function reply(to: DhcpMessage, type: number, more: Partial<DhcpFields> = {}, server = SERVER): Uint8Array {
  const options = [[DHCP_OPTION.serverId, long(server)], [DHCP_OPTION.leaseTime, long(1000)]] as const;
  return encodeDhcp({
    reply: true,
    xid: to.xid,
    secs: 0,
    broadcast: false,
    yiaddr: ADDRESS,
    mac: MAC,
    type,
    options,
    ...more,
  });
}

/** A client with a lease of 1,000 s from time 0. */
function bound(more: Partial<DhcpClientOptions> = {}): DhcpClient {
  const dhcp = client(more);
  dhcp.start(0);
  assert.ok(dhcp.input(reply(sent(dhcp, 0), offer), 0));
  assert.ok(dhcp.input(reply(sent(dhcp, 0), ack), 0));
  return dhcp;
}

Deno.test("discover, offer, request, acknowledge: an address", () => {
  const dhcp = client({ hostname: "node", vendorClass: "ring9" });
  dhcp.start(5);
  const first = sent(dhcp, 5);
  assert.deepEqual([first.type, first.dst, first.src, first.broadcast], [discover, -1, 0, true]);
  assert.deepEqual([first.text(DHCP_OPTION.hostname), first.text(DHCP_OPTION.vendorClass)], ["node", "ring9"]);
  assert.deepEqual([...first.option(DHCP_OPTION.clientId)!], [1, ...MAC]);
  assert.ok(first.option(DHCP_OPTION.parameterList)!.includes(DHCP_OPTION.classlessRoutes));
  assert.ok(dhcp.input(reply(first, offer), 10));
  const second = sent(dhcp, 10);
  assert.equal(second.type, request);
  assert.equal(second.xid, first.xid);
  assert.deepEqual([second.long(DHCP_OPTION.serverId), second.long(DHCP_OPTION.requestedAddress)], [SERVER, ADDRESS]);
  assert.ok(dhcp.input(reply(second, ack), 20));
  assert.deepEqual([dhcp.state, dhcp.lease?.address, dhcp.takeEvent(), dhcp.takeEvent()], [
    "bound",
    ADDRESS,
    "bound",
    undefined,
  ]);
  assert.deepEqual([dhcp.lease?.endMs, dhcp.pollAt()], [1_000_010, 500_010]);
  assert.deepEqual(sends(dhcp, 30), []);
});

Deno.test("what is not for this client, of this exchange or of this server changes nothing", () => {
  const dhcp = client();
  dhcp.start(0);
  const first = sent(dhcp, 0);
  const bad: [string, Uint8Array][] = [
    ["another transaction", reply(first, offer, { xid: first.xid ^ 1 })],
    ["another MAC address", reply(first, offer, { mac: hex("02 00 00 00 00 02") })],
    ["a request", reply(first, offer, { reply: false })],
    ["an acknowledgement of nothing", reply(first, ack)],
    ["no server", reply(first, offer, { options: [[DHCP_OPTION.leaseTime, long(5)]] })],
    ["no address", reply(first, offer, { yiaddr: 0 })],
    ["cut", reply(first, offer).subarray(0, 200)],
  ];
  for (const [what, bytes] of bad) {
    assert.ok(!dhcp.input(bytes, 1), what);
    assert.equal(dhcp.state, "selecting", what);
  }
  assert.equal(dhcp.ignored, bad.length);
  dhcp.input(reply(first, offer), 1);
  const second = sent(dhcp, 1);
  for (const type of [ack, nak]) assert.ok(!dhcp.input(reply(second, type, {}, SERVER + 1), 2));
  assert.equal(dhcp.state, "requesting");
});

Deno.test("without an answer it asks again after 4, 8, 16, 32, 64, 64 seconds, more or less one", () => {
  const dhcp = client(), seconds: number[] = [];
  dhcp.start(0);
  let now = 0;
  for (let i = 0; i < 6; i++) {
    assert.equal(sent(dhcp, now).type, discover);
    seconds.push((dhcp.pollAt() - now) / 1000);
    now = dhcp.pollAt();
  }
  [4, 8, 16, 32, 64, 64].forEach((each, i) => assert.ok(Math.abs(seconds[i] - each) <= 1, `${seconds}`));
  assert.equal(sent(dhcp, now).secs, Math.floor(now / 1000));
});

Deno.test("a request that nobody answers is given up after four, and all begins anew", () => {
  const dhcp = client();
  dhcp.start(0);
  const first = sent(dhcp, 0);
  dhcp.input(reply(first, offer), 0);
  let now = 0, requests = 0, next = sent(dhcp, now);
  for (; next.type === request; next = sent(dhcp, now = dhcp.pollAt())) requests++;
  assert.deepEqual([requests, next.type, dhcp.state], [4, discover, "selecting"]);
  assert.notEqual(next.xid, first.xid);
});

Deno.test("renewing asks the server, rebinding everybody, then the address is lost", () => {
  const dhcp = bound();
  dhcp.takeEvent();
  const asked: [number, string, number][] = [];
  let next: ReturnType<typeof sent>;
  for (let now = 500_000;; now = dhcp.pollAt()) {
    next = sent(dhcp, now);
    if (next.type === discover) break;
    assert.deepEqual([next.ciaddr, next.option(DHCP_OPTION.requestedAddress), next.option(DHCP_OPTION.serverId)], [
      ADDRESS,
      undefined,
      undefined,
    ]);
    asked.push([now / 1000, dhcp.state, next.dst]);
  }
  assert.deepEqual(asked, [
    [500, "renewing", SERVER],
    [687.5, "renewing", SERVER],
    [781.25, "renewing", SERVER],
    [841.25, "renewing", SERVER],
    [875, "rebinding", -1],
    [937.5, "rebinding", -1],
    [997.5, "rebinding", -1],
  ]);
  assert.deepEqual([dhcp.takeEvent(), dhcp.lease, dhcp.state], ["lost", undefined, "selecting"]);
});

Deno.test("a renewed lease counts from when it was asked for; another server may give it in rebinding only", () => {
  const dhcp = bound();
  dhcp.takeEvent();
  const renewal = sent(dhcp, 500_000);
  assert.ok(!dhcp.input(reply(renewal, ack, {}, SERVER + 1), 500_100));
  sent(dhcp, 875_000);
  assert.ok(dhcp.input(reply(renewal, ack, {}, SERVER + 1), 875_100));
  assert.deepEqual([dhcp.state, dhcp.lease?.endMs, dhcp.lease?.server], ["bound", 1_875_000, SERVER + 1]);
  assert.deepEqual([dhcp.takeEvent(), dhcp.takeEvent()], ["bound", undefined]);
});

Deno.test("a refusal takes the address, and each in a row makes the next try wait longer", () => {
  const dhcp = bound();
  dhcp.takeEvent();
  let now = 500_000;
  assert.ok(dhcp.input(reply(sent(dhcp, now), nak), now));
  assert.deepEqual([dhcp.takeEvent(), dhcp.state, dhcp.lease], ["lost", "init", undefined]);
  for (const wait of [1000, 2000, 4000]) {
    assert.equal(dhcp.pollAt() - now, wait);
    now = dhcp.pollAt();
    dhcp.input(reply(sent(dhcp, now), offer), now);
    dhcp.input(reply(sent(dhcp, now), nak), now);
  }
});

Deno.test("an address that is in use is declined, and another asked for ten seconds later", () => {
  const dhcp = bound({ checkConflict: true });
  assert.deepEqual([dhcp.state, dhcp.takeEvent(), dhcp.lease?.address], ["checking", "probe", ADDRESS]);
  dhcp.conflict(100);
  const refusal = sent(dhcp, 100);
  assert.deepEqual([refusal.type, refusal.dst, refusal.src], [decline, -1, 0]);
  assert.deepEqual([refusal.long(DHCP_OPTION.requestedAddress), refusal.long(DHCP_OPTION.serverId)], [ADDRESS, SERVER]);
  assert.deepEqual([dhcp.state, dhcp.lease, dhcp.pollAt(), dhcp.takeEvent()], ["init", undefined, 10_100, undefined]);
  assert.equal(sent(dhcp, 10_100).type, discover);
});

Deno.test("an address that nobody else has is claimed; a conflict later loses it", () => {
  const dhcp = bound({ checkConflict: true });
  dhcp.takeEvent();
  dhcp.claim(2000);
  assert.deepEqual([dhcp.state, dhcp.takeEvent()], ["bound", "bound"]);
  dhcp.conflict(3000);
  assert.deepEqual([sent(dhcp, 3000).type, dhcp.takeEvent()], [decline, "lost"]);
});

Deno.test("after a restart the old address is asked for; refused, a new one", () => {
  const old = bound().lease!, dhcp = client();
  dhcp.start(1000, old);
  const first = sent(dhcp, 1000);
  assert.deepEqual([first.type, first.dst, first.ciaddr, first.option(DHCP_OPTION.serverId)], [
    request,
    -1,
    0,
    undefined,
  ]);
  assert.equal(first.long(DHCP_OPTION.requestedAddress), ADDRESS);
  dhcp.input(reply(first, nak), 1010);
  assert.equal(sent(dhcp, dhcp.pollAt()).type, discover);
});

Deno.test("after a restart without an answer, a lease that has not ended is used on, one that has is not", () => {
  const dhcp = client(), old = bound().lease!;
  dhcp.start(1000, old);
  let now = 1000;
  while (dhcp.state === "rebooting") {
    sends(dhcp, now = dhcp.state === "rebooting" && dhcp.pollAt() > now ? dhcp.pollAt() : now);
  }
  assert.deepEqual([dhcp.state, dhcp.takeEvent(), dhcp.pollAt()], ["bound", "bound", old.t1Ms]);
  const late = client();
  late.start(old.endMs + 1, old);
  const first = sent(late, old.endMs + 1);
  assert.deepEqual([first.type, first.long(DHCP_OPTION.requestedAddress)], [discover, ADDRESS]);
});

Deno.test("release tells the server, from the address; stop does not", () => {
  const dhcp = bound();
  dhcp.takeEvent();
  dhcp.release(100);
  const last = sent(dhcp, 100);
  assert.deepEqual([last.type, last.dst, last.src, last.ciaddr], [release, SERVER, ADDRESS, ADDRESS]);
  assert.deepEqual([dhcp.state, dhcp.takeEvent(), dhcp.pollAt()], ["stopped", "lost", Infinity]);
  const other = bound();
  other.stop();
  assert.deepEqual(sends(other, 100), []);
});

Deno.test("settings alone are told for an address that was set by hand", () => {
  const dhcp = client();
  dhcp.inform(0, ADDRESS);
  const question = sent(dhcp, 0);
  assert.deepEqual([question.type, question.ciaddr, question.src], [inform, ADDRESS, ADDRESS]);
  const options: DhcpFields["options"] = [[DHCP_OPTION.serverId, long(SERVER)], [DHCP_OPTION.dns, hex("08080808")]];
  assert.ok(dhcp.input(reply(question, ack, { yiaddr: 0, options }), 10));
  assert.deepEqual([dhcp.takeEvent(), dhcp.lease?.dns, dhcp.lease?.address, dhcp.pollAt()], [
    "informed",
    [0x08080808],
    ADDRESS,
    Infinity,
  ]);
});

Deno.test("a lease is plain data, and is adopted by another client in its middle", () => {
  const lease: Lease = structuredClone(bound().lease!), dhcp = client();
  dhcp.adopt(lease, 1000);
  assert.deepEqual([dhcp.state, dhcp.pollAt()], ["bound", 500_000]);
  assert.equal(sent(dhcp, 500_000).ciaddr, ADDRESS);
  const late = client();
  late.adopt(lease, 2_000_000);
  assert.equal(sent(late, 2_000_000).type, discover);
});

Deno.test("whatever arrives and whenever, the client goes on, and sends no flood", () => {
  for (let seed = 1; seed <= 150; seed++) {
    const random = new Random(seed), dhcp = client({ checkConflict: seed % 2 === 0 }, seed);
    let now = 0, last: DhcpMessage | undefined, count = 0;
    dhcp.start(0);
    try {
      for (let i = 0; i < 300; i++) {
        now += random.below(random.below(10) ? 2000 : 600_000);
        for (const send of sends(dhcp, now)) {
          last = read(send);
          count++;
        }
        const type = 1 + random.below(8), bytes = last && reply(last, type, { yiaddr: ADDRESS + random.below(3) });
        if (bytes && random.below(3)) {
          for (let j = random.below(4); j > 1; j--) bytes[random.below(bytes.length)] = random.below(256);
          dhcp.input(bytes, now);
        }
        while (dhcp.takeEvent() === "probe") random.below(2) ? dhcp.claim(now) : dhcp.conflict(now);
        assert.equal(dhcp.lease === undefined, !["checking", "bound", "renewing", "rebinding"].includes(dhcp.state));
      }
      assert.ok(count < 1500, `${count} messages`);
    } catch (cause) {
      throw new Error(`seed ${seed}`, { cause });
    }
  }
});
