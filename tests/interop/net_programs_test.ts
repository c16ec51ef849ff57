/**
 * The programs of /bin against Linux's own: one ring9 on a TAP in a network namespace, one program of the other side a step.
 *
 * Needs: root, /dev/net/tun, and what is said at each step (tools/apt-packages.txt).
 */

import assert from "node:assert/strict";
import { inNetns, NET_NEEDS, netTest, run } from "../netns.ts";
import { interop, missing, type Need, noteSkipped, program } from "../skip.ts";
import { HostProgram, NetNode, OTHER, OTHER6, OWN, OWN6, until } from "./net_node.ts";

const SUITE = "the programs of ring9 talk to those of Linux";
const LARGE_BYTES = 8_000_000;

interop(SUITE, { needs: [...NET_NEEDS, program("ip")] }, (t) =>
  inNetns(async () => {
    await using node = await NetNode.onTap();
    const dir = await Deno.makeTempDir({ prefix: "ring9-net-" });
    const large = new Uint8Array(LARGE_BYTES);
    for (let at = 0; at < large.length; at += 50_000) crypto.getRandomValues(large.subarray(at, at + 50_000));
    await Deno.writeFile(`${dir}/large.bin`, large);
    await Deno.writeTextFile(`${dir}/index.html`, "<p>hello</p>\n");
    await node.give({ op: "load", plugin: `host as files root=${dir} writable=true` });
    await node.ns("bind -c '#files' /n/files");
    await run("ip", "addr", "add", `${OTHER6}/64`, "dev", "tap0", "nodad");
    const step = async (name: string, needs: readonly Need[], fn: () => Promise<void>) => {
      const why = missing(needs);
      if (why) noteSkipped(`${SUITE} > ${name}`, why);
      await t.step({ name, ignore: why !== undefined, fn });
    };
    try {
      for (const [name, needs, fn] of STEPS) await step(name, needs, () => fn(node, dir));
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  }));

netTest("ipconfig: an address by hand, by DHCP from dnsmasq, and neither", [
  program("ip"),
  program("dnsmasq"),
  program("ping"),
], async () => {
  await using node = await NetNode.onTap({ address: false });
  assert.equal(await node.sh(`ipconfig -g ${OTHER} ether /net/ether0 ${OWN}/24`), "");
  await run("ping", "-c", "1", OWN);
  assert.match(
    await node.sh("ipconfig"),
    new RegExp(`^ether0 ipifc/1 mtu 1500 .*\n\t${OWN}/24\ngateway ${OTHER}\n`, "m"),
  );
  assert.match(await node.sh(`ipconfig ether ether0 try ${OTHER} /24`), /another's/);
  assert.equal(await node.sh(`ipconfig ether ether0 remove ${OWN} /24`), "");
  await assert.rejects(run("ping", "-c", "1", "-W", "1", OWN));
  await using _dnsmasq = new HostProgram(
    "dnsmasq",
    ...["-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--interface=tap0", "--bind-interfaces", "--pid-file="],
    ...[
      "--dhcp-range=10.99.0.50,10.99.0.50,1h",
      "--no-ping",
      "--dhcp-leasefile=/dev/null",
      "--host-record=gate.lan,10.99.0.9",
    ],
  );
  const serves = async () => /:53 .*:67 /s.test(await run("ss", "-ulnH"));
  await until(serves, "dnsmasq does not listen");
  // It asks again after 4 s, 8 s and so on (RFC 2131), and ends when it has a lease.
  assert.match(await node.sh("ipconfig -w 120000 ether ether0 dhcp"), /^\t10\.99\.0\.50\/24.*^gateway 10\.99\.0\.1$/ms);
  let said = "";
  const isKnown = async () => (said = await node.sh("dnsquery gate.lan")) === "gate.lan ip\t10.99.0.9\n";
  // A lookup gives up after two questions, which a host that is busy with others may be too slow for.
  await until(isKnown, "the lease's name server does not answer").catch((e) => assert.fail(`${e.message}: ${said}`));
  assert.equal(await node.sh("ipconfig ether ether0 release"), "");
  assert.doesNotMatch(await node.sh("ipconfig"), /10\.99\.0\.50/);
  assert.equal(await node.sh("ipconfig ether ether0 unbind"), "");
  assert.doesNotMatch(await node.sh("ipconfig"), /ether0/);
});

/** What is tried: its name, its needs, the node, and a folder that both sides see (`/n/files`). */
const STEPS: [string, Need[], (node: NetNode, dir: string) => Promise<void>][] = [
  ["ping both ways, IPv4 and IPv6", [program("ping")], async (node) => {
    for (const own of [OWN, OWN6]) assert.match(await run("ping", "-c", "3", "-i", "0.2", own), / 0% packet loss/);
    for (const other of [OTHER, OTHER6]) {
      assert.match(
        await node.sh(`ping -n 3 -i 20 -s 1000 ${other}`),
        /^1008 bytes from [^\n]*\n.*3 received, 0 % lost/ms,
      );
    }
    assert.match(await node.sh("ping -n 1 -w 100 10.99.0.77"), /0 received, 100 % lost.*no answer/s);
  }],

  ["curl fetches a file from httpd, whole and in part, and finds no way out", [program("curl")], async (node, dir) => {
    await node.serve("/bin/httpd.ts /n/files", 80);
    const curl = (...args: string[]) => run("curl", "-sS", "--max-time", "20", ...args);
    await curl("-o", `${dir}/got.bin`, `http://${OWN}/large.bin`);
    await sameFile(`${dir}/large.bin`, `${dir}/got.bin`);
    await curl("-g", "-o", `${dir}/part.bin`, "-r", "1000-4000999", `http://[${OWN6}]/large.bin`);
    assert.deepEqual(
      await Deno.readFile(`${dir}/part.bin`),
      (await Deno.readFile(`${dir}/large.bin`)).subarray(1000, 4_001_000),
    );
    await Deno.remove(`${dir}/got.bin`);
    await Deno.remove(`${dir}/part.bin`);
    assert.equal(await curl(`http://${OWN}/`), "<p>hello</p>\n");
    const twice = await curl("-I", `http://${OWN}/large.bin`, "--next", "-I", `http://${OWN}/none`);
    assert.match(twice, /^HTTP\/1.1 200 OK\r\n.*Content-Length: 8000000\r\n.*\r\nHTTP\/1.1 404 Not Found\r\n/s);
    for (const path of ["/../etc/passwd", "/%2e%2e/etc/passwd", "/..%2fetc/passwd", "/a/../../../etc/passwd"]) {
      const code = await curl("--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", `http://${OWN}${path}`);
      assert.equal(code, "400", path);
    }
    const status = (...args: string[]) =>
      curl("-o", "/dev/null", "-w", "%{http_code}", ...args, `http://${OWN}/large.bin`);
    assert.equal(await status("-X", "DELETE"), "405");
    assert.equal(await status("-r", "9000000-"), "416");
    assert.equal(await status("-z", `${dir}/large.bin`), "304");
    assert.equal(await status("-H", `X: ${"x".repeat(9000)}`), "431");
  }],

  ["hget fetches from nginx, follows redirects, and tells of errors", [program("nginx")], async (node, dir) => {
    const conf = `${dir}/nginx.conf`,
      site = `location /moved { return 302 /large.bin; } location /loop { return 301 /loop; }`;
    await Deno.writeTextFile(
      conf,
      `daemon off; master_process off; pid ${dir}/pid; error_log ${dir}/error.log; events {}\n` +
        `http { access_log off; server { listen ${OTHER}:8080; root ${dir}; ${site} } }\n`,
    );
    await using _nginx = new HostProgram("nginx", "-p", dir, "-c", conf);
    const page = () => node.sh(`hget http://${OTHER}:8080/`);
    await until(async () => await page() === "<p>hello</p>\n", "nginx does not answer");
    assert.equal(await node.sh(`hget -o /n/files/got.bin http://${OTHER}:8080/moved`), "");
    await sameFile(`${dir}/large.bin`, `${dir}/got.bin`);
    assert.match(await node.sh(`hget http://${OTHER}:8080/loop`), /more than 5 redirects/);
    assert.match(await node.sh(`hget http://${OTHER}:8080/none`), /404 Not Found/);
    assert.match(await node.sh(`hget http://${OTHER}:8081/`), /Connection refused/);
  }],

  ["netcat both ways: listen starts a program a call, con calls", [program("nc")], async (node) => {
    await node.serve("/bin/listen.ts tcp!*!7 cat", 7);
    await Promise.all(["one", "two", "three"].map(async (word) => {
      await using nc = new HostProgram("nc", "-N", OWN, "7");
      await nc.write(`${word}\n`);
      await until(() => nc.output === `${word}\n`, `${word} does not come back`);
      await nc.endInput();
      assert.equal(await nc.ended(), 0);
    }));
    await using server = new HostProgram("nc", "-l", OTHER, "2000");
    await server.write("from Linux\n");
    await until(async () => /:2000 /.test(await run("ss", "-tln")), "nc does not listen");
    const called = node.run("/bin/con.ts", [`${OTHER}!2000`], "from ring9\n");
    await until(() => server.output === "from ring9\n", "con sent nothing");
    await server.endInput();
    await server[Symbol.asyncDispose]();
    assert.deepEqual(await called, { status: "", output: "from Linux\n" });
  }],

  ["iperf3 measures ttcp, and ttcp iperf3", [program("iperf3")], async (node) => {
    await node.serve("/bin/ttcp.ts -s", 5201);
    for (const args of [["-n", "20M"], ["-n", "20M", "-R"], ["-t", "1", "-P", "3"]]) {
      const { end } = JSON.parse(await run("iperf3", "-J", "-c", OWN, ...args));
      assert.ok(end.sum_received.bytes > 1e6, `${args}: ${end.sum_received.bytes} bytes`);
    }
    for (const args of ["-n 20m", "-n 20m -R", "-t 1 -P 2"]) {
      await using _server = new HostProgram("iperf3", "-s", "-1", "-p", "5202");
      await until(async () => /:5202 /.test(await run("ss", "-tln")), "iperf3 does not listen");
      const [, number, unit] = /^(?:sent|received) +([\d.]+) (\w)Bytes/.exec(
        await node.sh(`ttcp -p 5202 ${args} ${OTHER}`),
      )!;
      assert.ok(Number(number) > 0 && "MG".includes(unit), `${args}: ${number} ${unit}Bytes`);
    }
  }],

  ["tcpdump reads what snoop has written, and snoop's lines say the same", [
    program("tcpdump"),
    program("ping"),
  ], async (node, dir) => {
    const captured = node.sh("snoop -n 4 -w /n/files/ping.pcap ether0"), lines = node.sh("snoop -n 4 ether0");
    let isCaptured = false;
    const both = Promise.all([captured, lines]).then(() => isCaptured = true);
    const pings = async () => (await run("ping", "-c", "1", OWN), isCaptured);
    await until(pings, "nothing was captured");
    await both;
    const read = await run("tcpdump", "-n", "-r", `${dir}/ping.pcap`);
    assert.match(read, new RegExp(`IP ${OTHER} > ${OWN}: ICMP echo request`));
    assert.match(await lines, new RegExp(`IP ${OTHER} > ${OWN} ICMP echo id \\d+ seq 1 len 64`));
  }],

  ["dnsquery asks dnsmasq, and names are dialed", [program("dnsmasq"), program("curl")], async (node) => {
    const host = `--host-record=gate.lan,${OWN}`;
    await using _dnsmasq = new HostProgram(
      "dnsmasq",
      "-k",
      "-C",
      "/dev/null",
      "--no-resolv",
      "--no-hosts",
      "--local=/lan/",
      `--listen-address=${OTHER}`,
      "--bind-interfaces",
      host,
      "--mx-host=lan,gate.lan,5",
      "--pid-file=",
    );
    await node.give({ op: "ctl", path: "/net/ndb", text: `ip=${OWN} ipmask=/24\n\tdns=${OTHER}\n` });
    await until(async () => /^gate\.lan ip\t10/.test(await node.sh("dnsquery gate.lan")), "dnsmasq does not answer");
    assert.equal(await node.sh("dnsquery lan mx"), "lan mx\t5 gate.lan\n");
    assert.equal(await node.sh(`dnsquery ${OWN}`), `2.0.99.10.in-addr.arpa ptr\tgate.lan\n`);
    assert.match(await node.sh("dnsquery nobody.lan"), /name does not exist/);
    assert.equal(await node.sh("hget http://gate.lan/"), "<p>hello</p>\n");
  }],
];

async function sameFile(one: string, other: string): Promise<void> {
  const [a, b] = await Promise.all([one, other].map((path) => run("sha256sum", path)));
  assert.equal(a.split(" ")[0], b.split(" ")[0], `${other} is not as ${one}`);
}
