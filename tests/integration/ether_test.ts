import assert from "node:assert/strict";
import { netTest } from "../netns.ts";
import { bootNode } from "../node.ts";
import { program } from "../skip.ts";

const PCAP_HEADER = 24, RECORD_HEADER = 16;

netTest(
  "a node serves a TAP: loaded, captured while Linux asks, reloaded, unloaded",
  [program("ip"), program("ping")],
  async () => {
    await using node = await bootNode();
    await using client = await node.connect();
    await client.writeFile("/sys/plugins/ctl", "load ether as ether0 device='tap tap0' hostAddress=10.99.0.1/24\n");
    await client.writeFile("/proc/1/ns", "bind -a '#ether0' /net\n");
    const snoop = await client.open("/net/ether0/snoop");
    const ping = new Deno.Command("ping", { args: ["-c", "1", "-W", "1", "10.99.0.2"], stdout: "null" }).spawn();
    const capture: number[] = [], room = new Uint8Array(8192);
    while (!hasArp(capture)) capture.push(...room.subarray(0, await snoop.read(room, 0)));
    ping.kill("SIGKILL");
    await ping.status;
    await snoop.close();
    assert.match(await client.readText("/sys/queues/status"), /^ether0\/0 tap free - 0$/m);
    const address = await client.readText("/net/ether0/addr");
    await client.writeFile("/sys/plugins/ctl", "reload ether0\n");
    assert.equal(await client.readText("/net/ether0/addr"), address, "the device is the same");
    assert.match(await client.readText("/net/ether0/stats"), /^in: [1-9]/m);
    await client.writeFile("/sys/plugins/ctl", "unload ether0\n");
    assert.doesNotMatch(await client.readText("/sys/queues/status"), /ether0/);
    const link = await new Deno.Command("ip", { args: ["link", "show", "tap0"], stderr: "null" }).output();
    assert(!link.success, "the interface has gone with it");
  },
);

/** Whether a capture has a whole ARP request for 10.99.0.2 in it. */
function hasArp(capture: number[]): boolean {
  const view = new DataView(Uint8Array.from(capture).buffer);
  for (let at = PCAP_HEADER; at + RECORD_HEADER <= capture.length;) {
    const frame = at + RECORD_HEADER, end = frame + view.getUint32(at + 8, true);
    if (end > capture.length) return false;
    if (view.getUint16(frame + 12) === 0x0806 && view.getUint32(frame + 38) === 0x0a630002) return true;
    at = end;
  }
  return false;
}
