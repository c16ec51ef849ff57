/**
 * Debian's diod client tools (diodcat, diodls, diodload) against ring9's server.
 *
 * What holds: the tools ask Tauth first, and go on without it only if that is answered by ENOENT. diodload attaches to
 * "ctl", diod's own tree, for `null` and `zero`: a name space with these in /ctl serves it, bound here by /proc/1/ns.
 * dioddate, diodshowmount and dtop want more of that tree (its clock, its connections), and are left out.
 *
 * Needs: diod (tools/apt-packages.txt).
 */

import assert from "node:assert/strict";
import { interop, program } from "../skip.ts";
import { must, run } from "./host.ts";
import { message, RawClient, T } from "./raw9p.ts";
import { startRing9, type TestServer } from "./servers.ts";

/** Longer than anything here takes; a tool that hangs is a failure. */
const TIMEOUT_MS = 10_000;

async function writeFile(server: TestServer, path: string, data: Uint8Array): Promise<void> {
  using raw = await RawClient.attach(server);
  const names = path.split("/"), name = names.pop()!;
  await raw.rpc(message(T.walk, 1, [4, 0], [4, 1], [2, names.length], ...names));
  await raw.rpc(message(T.lcreate, 1, [4, 1], name, [4, 1], [4, 0o644], [4, 0]));
  const chunk = 60_000;
  for (let at = 0; at < data.length; at += chunk) {
    const part = data.subarray(at, at + chunk);
    await raw.rpc(message(T.write, 1, [4, 1], [8, at], [4, part.length], part));
  }
}

interop("diod's client tools work with ring9", { needs: [program("diodcat"), program("diodload")] }, async (t) => {
  await using server = await startRing9();
  const address = `${server.host}:${server.port}`;
  const at = (aname: string) => ["-s", address, "-a", aname, "-t", "10"];
  const text = Array.from({ length: 30_000 }, (_, i) => `line ${i}\n`).join("");
  await writeFile(server, "tmp/lines", new TextEncoder().encode(text));
  await writeFile(server, "tmp/short", new TextEncoder().encode("short\n"));

  await t.step("diodcat prints files", async () => {
    assert.equal(await must("diodcat", [...at("/"), "tmp/short"], { timeoutMs: TIMEOUT_MS }), "short\n");
    assert.equal(await must("diodcat", [...at("/tmp"), "short", "lines"], { timeoutMs: TIMEOUT_MS }), "short\n" + text);
  });

  await t.step("diodcat asks for a small msize, and gets it", async () => {
    const args = [...at("/tmp"), "-m", "8192", "lines"];
    assert.equal(await must("diodcat", args, { timeoutMs: TIMEOUT_MS }), text);
  });

  await t.step("diodcat says why it can not", async () => {
    const { status, stderr } = await run("diodcat", [...at("/tmp"), "absent"], { timeoutMs: TIMEOUT_MS });
    assert.equal(status, 1);
    assert.match(stderr, /No such file or directory/);
    const unknown = await run("diodcat", [...at("/no/such/tree"), "short"], { timeoutMs: TIMEOUT_MS });
    assert.match(unknown.stderr, /attaching.*No such file or directory/);
  });

  await t.step("diodls lists a directory, with attributes too", async () => {
    const names = await must("diodls", [...at("/"), "tmp"], { timeoutMs: TIMEOUT_MS });
    assert.deepEqual(names.trim().split(/\s+/).sort(), ["lines", "short"]);
    const long = await must("diodls", [...at("/tmp"), "-l"], { timeoutMs: TIMEOUT_MS });
    assert.match(long, /^-rw-r--r--\S*\s+1\s+root\s+\S+\s+6\s.*short$/m);
    assert.match(long, new RegExp(`^-rw-r--r--.*\\s${text.length}\\s.*lines$`, "m"));
    const root = await must("diodls", at("/"), { timeoutMs: TIMEOUT_MS });
    for (const name of ["dev", "proc", "sys", "tmp"]) assert.match(root, new RegExp(`^${name}$`, "m"));
  });

  await t.step("diodcat prints /proc and /sys", async () => {
    assert.match(await must("diodcat", [...at("/"), "proc/1/status"], { timeoutMs: TIMEOUT_MS }), /Running/);
    const status = await must("diodcat", [...at("/sys/plugins"), "ram/status"], { timeoutMs: TIMEOUT_MS });
    assert.match(status, /^state up$/m);
  });

  await t.step("diodload copies from ctl:zero to ctl:null, and asks for attributes", async () => {
    using raw = await RawClient.attach(server);
    await raw.rpc(message(T.walk, 1, [4, 0], [4, 1], [2, 1], "tmp"));
    await raw.rpc(message(T.mkdir, 1, [4, 1], "ctl", [4, 0o755], [4, 0]));
    await raw.rpc(message(T.walk, 1, [4, 0], [4, 2], [2, 3], "proc", "1", "ns"));
    await raw.rpc(message(T.lopen, 1, [4, 2], [4, 1]));
    const lines = new TextEncoder().encode("bind -a '#ram' /\nbind '#dev' /ctl\n");
    await raw.rpc(message(T.write, 1, [4, 2], [8, 0], [4, lines.length], lines));
    for (const workload of [["-n", "4"], ["-n", "4", "-g"]]) {
      const args = ["-s", address, "-r", "1", ...workload];
      const { status, stderr } = await run("diodload", args, { timeoutMs: TIMEOUT_MS });
      assert.equal(status, 0, stderr);
      assert.match(stderr, /diodload: [1-9]\d* ops\/s/);
    }
  });
});
