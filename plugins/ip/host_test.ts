import assert from "node:assert/strict";
import { ORDWR } from "../../core/plugin/author.ts";
import { Conversation, loadIp, newKernel } from "./fixture.ts";

Deno.test("ip on the host's sockets: dial, listen, half close, refuse, datagrams, cs", async () => {
  await using node = await loadIp(newKernel(), "ip", { medium: "hostsock" });
  const { files } = node;
  assert.deepEqual(await files.list(""), ["tcp", "udp", "stats", "ndb", "cs", "dns"]);
  const server = await Conversation.open(files, "tcp", "announce 0"), accepted = server.accept();
  const [, port] = (await server.read("local")).trim().split("!");
  const client = await Conversation.open(files, "tcp", `connect 127.0.0.1!${port}`), call = await accepted;
  assert.equal(await client.read("remote"), `127.0.0.1!${port}\n`);
  assert.equal(await call.read("remote"), await client.read("local"));
  const a = await client.data(), b = await call.data(), reply = a.read();
  await b.write("hello");
  assert.equal(await reply, "hello");
  await a.write("the end");
  await client.ctl.write("shutdown wr");
  assert.equal(await b.read(), "the end");
  assert.equal(await b.read(), "");
  assert.match(await call.read("status"), /^Established .* ready rwh-\n$/);
  await b.close();
  await call.close();
  assert.equal(await a.read(), "");
  await server.close();
  const refused = await Conversation.open(files, "tcp");
  await assert.rejects(refused.ctl.write(`connect 127.0.0.1!1`), { code: "ECONNREFUSED" });
  const echo = await Conversation.open(files, "udp", "headers", "announce 0"), e = await echo.data();
  const asker = await Conversation.open(files, "udp", `connect ${(await echo.read("local")).trim()}`),
    q = await asker.data();
  await q.write("datagram");
  await e.writeBytes(await e.readBytes());
  assert.equal(await q.read(), "datagram");
  const cs = await files.open("cs", ORDWR);
  await cs.write(`tcp!127.0.0.1!${port}`);
  assert.equal(await cs.read(), `/net/tcp/clone 127.0.0.1!${port}\n`);
  for (const file of [a, e, q, cs]) await file.close();
});

Deno.test("ip: auto takes the host's sockets when its device is not there, and says so", async () => {
  await using node = await loadIp(newKernel(), "ip", { medium: "auto", device: "ether0", address: "10.0.0.2/24" });
  assert.match(node.log.join("\n"), /there is no ether0: TCP and UDP go by the host's own sockets/);
  assert(!(await node.files.list("")).includes("ipifc"));
});
