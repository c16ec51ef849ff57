/**
 * The DHCP client and the resolver over the host's own UDP sockets: what dnsmasq_test.ts runs in a network namespace.
 *
 * Layer: net, tests only. Prints a line of JSON for each thing that comes about. Arguments: the server's address.
 */

import dgram from "node:dgram";
import process from "node:process";
import { formatIp, formatIpv4, type Ip, ipFromV4, parseIpv4, parseMac } from "./addr.ts";
import { DhcpClient } from "./dhcp/client.ts";
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT } from "./dhcp/message.ts";
import { formatRecord } from "./dns/format.ts";
import { DNS_TYPE } from "./dns/record.ts";
import { DNS_PORT, type DnsSend, Resolver } from "./dns/resolver.ts";

const random = () => crypto.getRandomValues(new Int32Array(1))[0];
const now = () => performance.now();

function print(what: string, value: unknown): void {
  console.log(JSON.stringify([what, value]));
}

/** Runs the client until `done` says so. */
async function pump(dhcp: DhcpClient, socket: dgram.Socket, done: () => boolean): Promise<void> {
  while (!done()) {
    for (let send = dhcp.poll(now()); send !== undefined; send = dhcp.poll(now())) {
      socket.send(send.bytes, DHCP_SERVER_PORT, formatIpv4(send.dst));
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function dhcp(mac: Uint8Array): Promise<void> {
  const socket = dgram.createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(DHCP_CLIENT_PORT, "0.0.0.0", resolve));
  socket.setBroadcast(true);
  const client = new DhcpClient({ mac, random, hostname: "guest" });
  socket.on("message", (bytes) => void client.input(new Uint8Array(bytes), now()));
  client.start(now());
  await pump(client, socket, () => client.takeEvent() === "bound");
  const lease = client.lease!;
  print("lease", {
    ...lease,
    startMs: 0,
    t1Ms: lease.t1Ms - lease.startMs,
    t2Ms: lease.t2Ms - lease.startMs,
    endMs: lease.endMs - lease.startMs,
  });
  const again = new DhcpClient({ mac, random, hostname: "guest" });
  socket.removeAllListeners("message");
  socket.on("message", (bytes) => void again.input(new Uint8Array(bytes), now()));
  again.start(now(), lease);
  await pump(again, socket, () => again.takeEvent() === "bound");
  print("rebooted", again.lease!.address === lease.address);
  again.release(now());
  await pump(again, socket, () => again.pollAt() === Infinity);
  socket.close();
}

/** Sends a message by the means it asks for, and gives what comes back to the resolver. */
function exchange(dns: Resolver, send: DnsSend): void {
  const hostname = formatIp(send.server);
  if (send.tcp) return void overTcp(dns, send, hostname).catch(() => dns.failed(send.port, now()));
  const socket = dgram.createSocket("udp4");
  socket.on("message", (bytes) => {
    dns.input(new Uint8Array(bytes), send, now());
    socket.close();
  });
  socket.bind(send.port, () => socket.send(send.bytes, DNS_PORT, hostname));
}

async function overTcp(dns: Resolver, send: DnsSend, hostname: string): Promise<void> {
  using conn = await Deno.connect({ hostname, port: DNS_PORT });
  const framed = new Uint8Array(2 + send.bytes.length);
  framed.set([send.bytes.length >> 8, send.bytes.length & 255]);
  framed.set(send.bytes, 2);
  await conn.write(framed);
  let got = new Uint8Array(0);
  const part = new Uint8Array(65_537);
  while (got.length < 2 || got.length < 2 + (got[0] << 8 | got[1])) {
    const count = await conn.read(part);
    if (count === null) throw new Error("the server closed");
    got = Uint8Array.of(...got, ...part.subarray(0, count));
  }
  dns.input(got, send, now(), 2);
}

async function dns(server: Ip): Promise<void> {
  const resolver = new Resolver({ random, servers: [server], search: ["lan"] });
  const ask = async (name: string, type: number) => {
    let over = false;
    resolver.lookup(name, type, now(), ({ status, records }) => {
      over = true;
      print(name, [status, ...records.map(formatRecord)]);
    });
    while (!over) {
      for (let send = resolver.poll(now()); send !== undefined; send = resolver.poll(now())) exchange(resolver, send);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  await ask("host.lan", DNS_TYPE.A);
  await ask("host", DNS_TYPE.AAAA);
  await ask("www.lan", DNS_TYPE.A);
  await ask("lan", DNS_TYPE.MX);
  await ask("_9fs._tcp.lan", DNS_TYPE.SRV);
  await ask("nobody.lan", DNS_TYPE.A);
  await ask("many.lan", DNS_TYPE.TXT);
}

const [server, mac] = process.argv.slice(2);
await dhcp(parseMac(mac)!);
await dns(ipFromV4(parseIpv4(server)!));
