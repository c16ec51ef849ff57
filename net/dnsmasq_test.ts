import assert from "node:assert/strict";
import { parseIpv4 } from "./addr.ts";
import { interop, program, root } from "../tests/skip.ts";

const SERVER = "10.77.0.1", MAC = "02:00:00:00:77:02";

async function sh(command: string): Promise<void> {
  const { success, stderr } = await new Deno.Command("sh", { args: ["-ec", command], stdout: "null" }).output();
  assert.ok(success, `${command}: ${new TextDecoder().decode(stderr)}`);
}

/** Two namespaces, joined by a cable, with dnsmasq in the first; what `run` prints in the second, line by line. */
async function withDnsmasq(options: string[], run: string[]): Promise<Map<string, unknown>> {
  const id = `r9-${Deno.pid}`, [near, far] = [`${id}-s`, `${id}-c`];
  let dnsmasq: Deno.ChildProcess | undefined;
  try {
    await sh(`ip netns add ${near}; ip netns add ${far}
      ip -n ${near} link add s0 type veth peer name c0 netns ${far}
      ip -n ${far} link set c0 address ${MAC}; ip -n ${far} link set lo up; ip -n ${far} link set c0 up
      ip -n ${near} addr add ${SERVER}/24 dev s0; ip -n ${near} link set s0 up; ip -n ${near} link set lo up
      ip -n ${far} route add 255.255.255.255 dev c0; ip -n ${far} route add 10.77.0.0/24 dev c0`);
    const always = [
      "--no-daemon",
      "--conf-file=/dev/null",
      "--no-resolv",
      "--no-hosts",
      "--user=root",
      "--no-ping",
      "--leasefile-ro",
    ];
    dnsmasq = new Deno.Command("ip", {
      args: ["netns", "exec", near, "dnsmasq", ...always, ...options],
      stderr: "null",
    }).spawn();
    // The client is to have the address that it will be given: the host's stack sends DNS for it.
    await sh(`ip -n ${far} addr add 10.77.0.50/32 dev c0`);
    const { stdout, stderr, success } = await new Deno.Command("ip", {
      args: ["netns", "exec", far, "timeout", "30", Deno.execPath(), "run", "-A", "--no-check", ...run],
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    return new Map(new TextDecoder().decode(stdout).trim().split("\n").map((line) => JSON.parse(line)));
  } finally {
    dnsmasq?.kill("SIGTERM");
    await dnsmasq?.status;
    await sh(`ip netns del ${near} || true; ip netns del ${far} || true`);
  }
}

interop("dnsmasq gives a lease, gives it again, and answers questions by UDP and TCP", {
  needs: [root, program("ip"), program("dnsmasq")],
}, async () => {
  const texts = Array.from({ length: 10 }, (_, i) => "x".repeat(200) + i);
  const said = await withDnsmasq([
    "--interface=s0",
    "--dhcp-range=10.77.0.50,10.77.0.50,255.255.255.0,1h",
    "--dhcp-option=option:mtu,1400",
    "--dhcp-option=option:classless-static-route,0.0.0.0/0,10.77.0.1,192.168.9.0/24,10.77.0.9",
    "--dhcp-option=option:ntp-server,10.77.0.3",
    "--dhcp-option=option:domain-search,lan,other.org",
    "--domain=lan",
    "--local=/lan/",
    "--auth-ttl=60",
    "--host-record=host.lan,10.77.0.9,fd00::9",
    "--cname=www.lan,host.lan",
    "--mx-host=lan,mx.lan,10",
    "--srv-host=_9fs._tcp.lan,host.lan,564",
    ...texts.map((text) => `--txt-record=many.lan,${text}`),
  ], [new URL("dnsmasq_fixture.ts", import.meta.url).pathname, SERVER, MAC]);
  const ip = (text: string) => parseIpv4(text)!;
  assert.deepEqual(said.get("lease"), {
    address: ip("10.77.0.50"),
    bits: 24,
    server: ip(SERVER),
    routes: [{ addr: 0, bits: 0, gateway: ip(SERVER) }, {
      addr: ip("192.168.9.0"),
      bits: 24,
      gateway: ip("10.77.0.9"),
    }],
    dns: [ip(SERVER)],
    ntp: [ip("10.77.0.3")],
    domain: "lan",
    search: ["lan", "other.org"],
    hostname: "guest",
    mtu: 1400,
    broadcast: ip("10.77.0.255"),
    startMs: 0,
    t1Ms: 1_800_000,
    t2Ms: 3_150_000,
    endMs: 3_600_000,
  });
  assert.equal(said.get("rebooted"), true);
  assert.deepEqual(said.get("host.lan"), ["ok", "host.lan ip\t10.77.0.9"]);
  assert.deepEqual(said.get("host"), ["ok", "host.lan ipv6\tfd00::9"]);
  assert.deepEqual(said.get("www.lan"), ["ok", "www.lan cname\thost.lan", "host.lan ip\t10.77.0.9"]);
  assert.deepEqual(said.get("lan"), ["ok", "lan mx\t10 mx.lan"]);
  assert.deepEqual(said.get("_9fs._tcp.lan"), ["ok", "_9fs._tcp.lan srv\t0 0 564 host.lan"]);
  assert.deepEqual(said.get("nobody.lan"), ["nxdomain"]);
  const [status, ...many] = said.get("many.lan") as string[];
  assert.deepEqual([status, many.sort()], ["ok", texts.map((text) => `many.lan txt\t${text}`)]);
});
