/**
 * Another machine's network: who mounts ring9's `/net` over 9P dials out through it. A second ring9 does, a Deno program, and a
 * Linux guest whose shell has nothing for it but `cat` and `echo`.
 *
 * Needs: root, /dev/net/tun, nc; the guest what guest.ts needs.
 */

import assert from "node:assert/strict";
import { Client } from "../../core/p9/client.ts";
import { dial } from "../../core/host/transports.ts";
import { connect, dial as dialOver, listen } from "../../net/dial/mod.ts";
import { inNetns, NET_NEEDS, netTest } from "../netns.ts";
import { interop, program } from "../skip.ts";
import { guestMissing, runGuest } from "./guest.ts";
import { HostProgram, NetNode, OTHER, OWN, until } from "./net_node.ts";

const PORT = 2000;

/** What Linux answers on its side of the TAP: who calls has `peer`. */
async function withServer(fn: (calls: () => string[]) => Promise<void>): Promise<void> {
  const calls: string[] = [], listener = Deno.listen({ hostname: OTHER, port: PORT });
  const served = (async () => {
    for await (const conn of listener) {
      calls.push((conn.remoteAddr as Deno.NetAddr).hostname);
      const said = await readLine(conn);
      await conn.write(new TextEncoder().encode(`you said ${said}`));
      conn.close();
    }
  })();
  try {
    await fn(() => calls);
  } finally {
    listener.close();
    await served;
  }
}

async function readLine(conn: Deno.Conn): Promise<string> {
  const room = new Uint8Array(1000);
  let text = "";
  for (let count; !text.endsWith("\n") && (count = await conn.read(room)) !== null;) {
    text += new TextDecoder().decode(room.subarray(0, count));
  }
  return text;
}

netTest("a second ring9 mounts the first one's /net and dials out through it", [program("ip")], async () => {
  await using gate = await NetNode.onTap();
  const address = await gate.give({ op: "listen", address: "tcp!127.0.0.1!0" });
  await using inner = new NetNode();
  await inner.ns(`mount ${address} /n/gate`);
  await withServer(async (calls) => {
    const { output } = await inner.run("/bin/con.ts", [`/n/gate/net/tcp!${OTHER}!${PORT}`], "hello\n");
    assert.equal(output, "you said hello\n");
    await inner.ns("bind /n/gate/net /net");
    assert.equal((await inner.run("/bin/con.ts", [`${OTHER}!${PORT}`], "again\n")).output, "you said again\n");
    assert.deepEqual(calls(), [OWN, OWN], "the calls came from the first one's address");
  });
  assert.match(await inner.sh(`ping -n 2 -i 20 ${OTHER}`), /2 received, 0 % lost/);
  await inner.serve("/bin/listen.ts tcp!*!7 cat", 7);
  await using nc = new HostProgram("nc", "-N", OWN, "7");
  await nc.write("called from outside\n");
  await until(() => nc.output === "called from outside\n", "what calls the first one's address reaches the second");
});

netTest("a Deno program dials and listens on a /net that it has mounted", [program("ip")], async () => {
  await using gate = await NetNode.onTap();
  const address = await gate.give({ op: "listen", address: "tcp!127.0.0.1!0" }) as string;
  await using client = await Client.connect(await dial(address), { uname: "root" });
  await withServer(async () => {
    await using conn = await dialOver(client, `tcp!${OTHER}!${PORT}`);
    await conn.writeAll(new TextEncoder().encode("hello\n"));
    assert.equal(await new Response(conn.readable).text(), "you said hello\n");
    await using deno = await connect(client, { hostname: OTHER, port: PORT });
    assert.equal(deno.localAddr.hostname, OWN);
    await deno.write(new TextEncoder().encode("again\n"));
    assert.equal(await new Response(deno.readable).text(), "you said again\n");
  });
  const listener = await listen(client, { port: 80 });
  const answered = (async () => {
    for await (const conn of listener) {
      await conn.write(new TextEncoder().encode("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nhi\n"));
      await conn.closeWrite();
      await conn.close();
    }
  })();
  assert.equal(await (await fetch(`http://${OWN}/`)).text(), "hi\n");
  await listener.close();
  await answered;
});

/** A shell's side of a TCP connection: the conversation's number, its commands, its data. */
const GUEST_SCRIPT = `
set -e
mount -t 9p -o trans=tcp,port=$PORT,version=9p2000.L,cache=none,uname=root,access=any 10.0.2.2 /mnt
cd /mnt/net/tcp
exec 3<>clone
n=$(cat <&3)
echo "connect $ADDRESS" >&3
cat $n/status
echo hello from a guest >$n/data
cat $n/data
cat $n/remote
exec 3>&-
if test -e $n; then echo "$n is left"; exit 1; fi
`;

interop("a Linux guest mounts /net and opens a TCP connection with cat and echo", {
  needs: [...NET_NEEDS, program("ip"), guestMissing],
}, () =>
  inNetns(async () => {
    await using gate = await NetNode.onTap();
    const address = await gate.give({ op: "listen", address: "tcp!127.0.0.1!0" }) as string;
    await withServer(async (calls) => {
      const env = { PORT: address.split("!")[2], ADDRESS: `${OTHER}!${PORT}` };
      const { status, output } = await runGuest({ script: GUEST_SCRIPT, env, timeoutMs: 600_000 });
      assert.match(output, /^Established .*\nyou said hello from a guest\n10\.99\.0\.1!2000\n/ms);
      assert.equal(status, 0, output);
      assert.deepEqual(calls(), [OWN]);
    });
  }));
