/** The network programs with one another, over the loopback of a node that needs no right: what of them has no Linux at the other side. */

import assert from "node:assert/strict";
import { NetNode } from "../interop/net_node.ts";

Deno.test("programs of one node serve and call each other over its loopback", async (t) => {
  await using node = new NetNode();
  await node.give({ op: "load", plugin: "ip" });
  await node.ns("bind '#ip' /net");

  await t.step("hget from httpd: files, directories, and files whose length nobody knows", async () => {
    await node.give({ op: "write", path: "/tmp/large", text: "0123456789abcdef\n".repeat(20_000) });
    await node.serve("/bin/httpd.ts -p 8080 /", 8080);
    assert.equal(await node.sh("hget -o /tmp/got http://127.0.0.1:8080/tmp/large"), "");
    assert.equal(await node.sh("cat /tmp/got"), await node.sh("cat /tmp/large"));
    assert.match(await node.sh("hget http://[::1]:8080/proc/1/status"), /^init /);
    assert.match(await node.sh("hget http://127.0.0.1:8080/bin/"), /<a href="\.\/hget\.ts">hget\.ts<\/a>/);
    assert.equal(
      await node.sh("hget http://127.0.0.1:8080/tmp/none"),
      "hget: http://127.0.0.1:8080/tmp/none: 404 Not Found\n",
    );
    assert.match(
      await node.sh("hget -v -o /tmp/got http://127.0.0.1:8080/tmp"),
      /301 Moved.*location: \/tmp\/\n.*200 OK/s,
    );
    assert.match(await node.sh("hget https://127.0.0.1/"), /there is no TLS here/);
  });

  await t.step("listen starts a program a call, and who calls above its limit waits", async () => {
    await node.serve("/bin/listen.ts -m 2 tcp!*!7 cat /tmp/large", 7);
    const calls = await Promise.all([1, 2, 3, 4, 5].map(() => node.run("/bin/con.ts", ["127.0.0.1!7"])));
    for (const { output, status } of calls) assert.deepEqual([output.length, status], [340_000, ""]);
  });

  await t.step("ttcp and ping measure the loopback; netstat shows what there is", async () => {
    await node.serve("/bin/ttcp.ts -s", 5201);
    assert.match(await node.sh("ttcp -n 5m 127.0.0.1"), /^sent +5\.000 MBytes/);
    assert.match(await node.sh("ttcp -R -P 2 -n 5m ::1"), /^received +[\d.]+ MBytes/);
    assert.match(await node.sh("ping -n 3 -i 5 -q ::1"), /3 received, 0 % lost/);
    assert.match(await node.sh("netstat"), /^tcp\/\d+ +\w+ +Listen +0 +0 +::!5201 +::!0$/m);
    assert.match(await node.sh("netstat -s -p tcp"), /^tcp\n\tMaxConn: /);
    assert.match(await node.sh("ipconfig"), /^loopback ipifc\/0 .*\n\t127\.0\.0\.1\/8\n\t::1\/128\n/);
  });

  await t.step("the same programs on the host's sockets", async () => {
    await node.give({ op: "load", plugin: "ip as sockets medium=hostsock" });
    await node.ns("bind '#sockets' /n/sockets");
    await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("hi\n"));
    assert.equal(await node.sh(`hget -x /n/sockets http://127.0.0.1:${server.addr.port}/`), "hi\n");
  });

  await t.step("an interrupt ends ping with its figures", async () => {
    const order = {
      op: "run",
      path: "/bin/ping.ts",
      args: ["-i", "20", "::1"],
      until: "seq 2",
      then: "note interrupt",
    } as const;
    const { output, status } = await node.give({ ...order, args: [...order.args] }) as {
      output: string;
      status: string;
    };
    assert.match(output, /^\d+ sent, \d+ received, \d+ % lost\nround trip /m);
    assert.equal(status, "");
  });

  await t.step("a misuse is told with the usage, a failure with its reason", async () => {
    assert.equal(
      await node.sh("ping"),
      `ping: usage: ping [-6q] [-n count] [-i ms] [-w ms] [-s bytes] [-x netdir] host\n`,
    );
    assert.match(await node.sh("ping -n 0 ::1"), /-n 0: wanted a number/);
    assert.match(await node.sh("con 127.0.0.1!1"), /^con: cannot dial tcp!127\.0\.0\.1!1: .*Connection refused\n$/);
    assert.match(await node.sh("listen tcp!*!8 nosuch"), /nosuch: no such program/);
    assert.match(await node.sh("listen tcp!*!8 /bin"), /\/bin: no such program/);
    assert.equal(await node.sh("httpd /bin/cat.ts"), "httpd: /bin/cat.ts: not a directory\n");
    assert.match(await node.sh("man ttcp", "man ip"), /^# ttcp: measure TCP\n/);
  });
});
