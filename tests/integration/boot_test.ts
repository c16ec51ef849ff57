/** Booting, and what stands in its way; nodes that mount one another; the shell. */

import assert from "node:assert/strict";
import { dial } from "../../core/host/transports.ts";
import { Client } from "../../core/p9/client.ts";
import { type BootCommand, runBoot } from "../boot_command.ts";
import { bootNode } from "../node.ts";

const ROOT = new URL("../../", import.meta.url);
/** Where the nodes of this file keep their disks. */
const DATA = Deno.makeTempDirSync();
globalThis.addEventListener("unload", () => Deno.removeSync(DATA, { recursive: true }));

/** Boots, with the disks of this file. */
const boot = (args: string[], { env, ...others }: BootCommand = {}) =>
  runBoot(args, { env: { XDG_DATA_HOME: DATA, ...env }, ...others });

Deno.test("boot says what is wrong with what it was asked for, and ends", async () => {
  const cases: [string[], RegExp, number][] = [
    [["--help"], /usage: deno task boot/, 0],
    [["--nonsense"], /^ring9: Unknown option '--nonsense' \(try --help\)\n$/, 2],
    [["--listen"], /^ring9: option '--listen' wants a value \(try --help\)\n$/, 2],
    [["--socket", "/proc/nosuch/s"], /cannot make \/proc\/nosuch for the socket: .*--socket PATH/, 78],
    [["--socket", `/tmp/${"x".repeat(110)}`], /at most 106 bytes/, 78],
    [["extra"], /"extra" is no option/, 2],
    [["--image", "nosuch"], /no image is called nosuch \(there are: .*default/, 78],
    [["--listen", "tcp!0.0.0.0!5640"], /not loopback.*tcp!127\.0\.0\.1!PORT.*ssh/, 78],
    [["--listen", "tcp!example.org!5640"], /not loopback/, 78],
    [["--listen", "nonsense"], /nonsense/, 78],
    [["--listen", "tcp!127.0.0.1!notaport"], /notaport/, 78],
    [["--listen", "ws!ws://127.0.0.1:1/"], /WebSockets are not served/, 78],
    [["--listen", `unix!/tmp/${"x".repeat(110)}`], /at most 106 bytes/, 78],
    [["--listen", "unix!/tmp/ring9-nowhere/x"], /x: there is no folder \/tmp\/ring9-nowhere \(make it/, 78],
    [["--listen", "unix!/proc/version/x"], /\/proc\/version/, 78],
  ];
  for (const [args, why, status] of cases) {
    const { code, text } = await boot(["--no-console", ...args]);
    assert.match(text, why, args.join(" "));
    assert.equal(code, status, text);
    assert.doesNotMatch(text, /inline/, "nothing was started");
  }
});

Deno.test("an address in use ends the boot before a plugin starts; what was listened on is gone, what was started is stopped", async () => {
  const dir = await Deno.makeTempDir();
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    const plugin = { name: "leaver", version: "1.0.0", api: 1 };
    await Deno.mkdir(`${dir}/leaver`);
    await Deno.writeTextFile(`${dir}/leaver/plugin.json`, JSON.stringify(plugin));
    await Deno.writeTextFile(
      `${dir}/leaver/mod.ts`,
      `import { definePlugin, tree } from "ring9/plugin";
export default definePlugin({
  start(ctx) {
    ctx.defer(() => Deno.writeTextFileSync("${dir}/stopped", "yes"));
    return tree({}, ctx);
  },
});
`,
    );
    const plugins = [{ plugin: "root" }, { plugin: `${dir}/leaver`, as: "leaver", placement: "inline" }];
    await Deno.writeTextFile(`${dir}/namespace`, "");
    const address = `tcp!127.0.0.1!${taken.addr.port}`;
    const busy: [string[], string[]][] = [[[`unix!${dir}/first`, address], []], [[], ["--listen", address]]];
    for (const [listen, args] of busy) {
      await Deno.writeTextFile(`${dir}/image.json`, JSON.stringify({ name: "x", plugins, listen }));
      const { code, text } = await boot(["--no-console", "--image", dir, "--socket", `${dir}/s`, ...args]);
      assert.match(text, new RegExp(`cannot listen at ${address}: .*in use`));
      assert.equal(code, 78);
      for (const gone of ["stopped", "first"]) await assert.rejects(Deno.lstat(`${dir}/${gone}`), Deno.errors.NotFound);
    }
    await Deno.writeTextFile(`${dir}/image.json`, JSON.stringify({ name: "x", plugins }));
    const { code, text } = await boot(["--no-console", "--image", dir, "--socket", `${dir}/image.json`]);
    assert.match(text, /cannot listen at unix!.*image\.json: .*no socket/);
    assert.equal(code, 78);
    assert.equal(await Deno.readTextFile(`${dir}/stopped`), "yes", "this socket is made once all has started");
    await Deno.writeTextFile(`${dir}/image.json`, JSON.stringify({ name: "x", plugins, listen: ["tcp!10.0.0.1!564"] }));
    const refused = await boot(["--no-console", "--image", dir]);
    assert.match(refused.text, /not loopback/);
    assert.doesNotMatch(refused.text, /leaver/, "nothing was started");
  } finally {
    taken.close();
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("paths are the caller's; a second node of a user gets a socket of its own, and is told of the first", async () => {
  const dir = await Deno.realPath(await Deno.makeTempDir());
  const said = async (args: string[]) => {
    const { code, text } = await boot(args, {
      input: "exit\n",
      env: { XDG_RUNTIME_DIR: dir, INIT_CWD: dir },
      cwd: dir,
    });
    assert.equal(code, 0, text);
    return text;
  };
  try {
    assert.match(await said(["--socket", "s"]), new RegExp(`listening on unix!${dir}/s\n`));
    await Deno.mkdir(`${dir}/sub`);
    assert.match(await said(["--listen", "unix!sub/s"]), new RegExp(`listening on unix!${dir}/sub/s\n`));
    await using _first = await bootNode("--socket", `${dir}/ring9/9p`);
    const text = await said([]);
    assert.match(text, new RegExp(`another node of yours is at unix!${dir}/ring9/9p\n`));
    assert.match(text, new RegExp(`listening on unix!${dir}/ring9/9p-\\d+\n`));
    const { code, text: refused } = await boot(["--no-console", "--socket", `${dir}/ring9/9p`]);
    assert.match(refused, /cannot listen at .*: a server answers there already/);
    assert.equal(code, 78);
    assert.deepEqual([...Deno.readDirSync(dir)].map(({ name }) => name).sort(), ["ring9", "sub"], "nothing is left");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("without a home there is no disk, and what to do is told", async () => {
  const { text } = await boot([], { input: "exit\n", env: { HOME: "", XDG_DATA_HOME: "" } });
  assert.match(text, /disk usr +not there: .*\n +neither HOME nor XDG_DATA_HOME .* \(try: --data DIR\)\nup in/);
});

Deno.test("an image with a mistake is refused with the place", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${dir}/image.json`, `{ "name": "x",\n  "plugins": [{ "plugn": "root" }] }`);
    assert.match((await boot(["--no-console", "--image", dir])).text, /image\.json:2:\d+.*plugn/);
    await Deno.writeTextFile(
      `${dir}/image.json`,
      `{ "name": "x", "plugins": [{ "plugin": "root" }, { "plugin": "ram" }] }`,
    );
    await Deno.writeTextFile(`${dir}/namespace`, "bind '#ram' /tmp\nbnd x y\n");
    assert.match((await boot(["--no-console", "--image", dir])).text, /x\/namespace:2: bnd: unknown operation/);
    const plugin = { name: "needy", version: "1.0.0", api: 1, needs: ["/tmp/x", "/net/ether0"] };
    await Deno.mkdir(`${dir}/needy`);
    await Deno.writeTextFile(`${dir}/needy/plugin.json`, JSON.stringify(plugin));
    const plugins = [{ plugin: "root" }, { plugin: `${dir}/needy`, as: "needy" }, { plugin: "ram" }];
    await Deno.writeTextFile(`${dir}/image.json`, JSON.stringify({ name: "x", plugins }));
    await Deno.writeTextFile(`${dir}/namespace`, "bind -c '#ram' /tmp\n");
    const needy = (await boot(["--no-console", "--image", dir])).text;
    assert.match(needy, /needy needs \/net\/ether0, which no plugin serves/);
    assert.doesNotMatch(needy, /root +inline/, "nothing was started");
    await Deno.writeTextFile(
      `${dir}/image.json`,
      `{ "name": "x", "plugins": [{ "plugin": "root" }, { "plugin": "ram" }] }`,
    );
    await Deno.writeTextFile(`${dir}/namespace`, "bind '#nosuch' /tmp\n");
    assert.match(
      (await boot(["--no-console", "--image", dir])).text,
      /x\/namespace:1: bind: .*no such device: '#nosuch'/,
    );
    const image = { name: "x", plugins: [{ plugin: "root" }], namespace: "nowhere" };
    await Deno.writeTextFile(`${dir}/image.json`, JSON.stringify(image));
    const lost = await boot(["--no-console", "--image", dir]);
    assert.match(lost.text, /x\/image\.json: its namespace file nowhere: No such file or directory: /);
    assert.equal(lost.code, 78);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("an image without a console has no prompt, says so, and serves", async () => {
  const dir = await Deno.makeTempDir();
  const image = { name: "x", plugins: [{ plugin: "root" }, { plugin: "ram" }] };
  await Deno.writeTextFile(`${dir}/image.json`, JSON.stringify(image));
  await Deno.writeTextFile(`${dir}/namespace`, "bind -c '#ram' /tmp\n");
  const args = ["task", "--quiet", "boot", "--quiet", "--image", dir, "--socket", `${dir}/9p`];
  const node = new Deno.Command(Deno.execPath(), { args, cwd: ROOT, stdin: "null", stdout: "null", stderr: "piped" })
    .spawn();
  let said = "";
  for await (const text of node.stderr.pipeThrough(new TextDecoderStream())) {
    if ((said += text).includes("\n")) break;
  }
  assert.match(
    said,
    /^ring9: no prompt: .*\/dev\/cons.* \(bind cons at \/dev in the image, or boot with --no-console\)\n/,
  );
  await using client = await Client.connect(await dial(`unix!${dir}/9p`), { uname: "root", uid: 0 });
  assert.deepEqual((await client.list("/tmp")).map(({ name }) => name), []);
  node.kill("SIGTERM");
  assert.equal((await node.status).code, 0);
  await Deno.remove(dir, { recursive: true });
});

Deno.test("the shell lists, reads, writes, binds, and goes with the end of its input", async () => {
  const dir = await Deno.makeTempDir();
  const script = [
    "echo 'hello  there' > /tmp/a",
    "echo again >> /tmp/a",
    "cat /tmp/a",
    "ls /bin",
    "mkdir /tmp/d",
    "bind /tmp /n/t",
    "ls /n/t",
    "nosuch",
    "cat /none",
    "cd /tmp/d",
    "pwd",
    "rm /tmp/a",
    "ls /tmp",
    "ns",
    "ps",
    "echo $user ''",
  ].join("\n") + "\n";
  const { code, text } = await boot(["--socket", `${dir}/s`], { input: script });
  await Deno.remove(dir, { recursive: true });
  assert.equal(code, 0, text);
  assert.match(text, /% hello {2}there\nagain\n/);
  assert.match(text, /cat\.ts\n(\w+\.ts\n)*man\.ts\n/);
  assert.doesNotMatch(text, /^(% )?(lib|man|\w+_test\.ts)$/m, "/bin has programs only");
  assert.match(text, /% a\nd\n/);
  assert.match(text, /nosuch: no such command/);
  assert.match(text, /cat: .*\/none.*|cat: file does not exist/);
  assert.match(text, /\/tmp\/d\n/);
  assert.match(text, /bind \/tmp \/n\/t|bind '#ram' \/n\/t/);
  assert.match(text, /^(.*% )?root +1 .*Running +init$/m);
});

Deno.test("two nodes use one another's files", async () => {
  await using far = await bootNode();
  await using near = await bootNode();
  await using client = await near.connect();
  await using other = await far.connect();
  await client.writeFile("/proc/1/ns", `mount ${far.address} /n/far\n`);
  await client.writeFile("/n/far/tmp/from near", "over two hops");
  assert.equal(await other.readText("/tmp/from near"), "over two hops");
  assert.match(await client.readText("/n/far/sys/plugins/status"), /^ram up inline/m);
  await other.writeFile("/proc/1/ns", `mount ${near.address} /n/near\n`);
  assert.equal(await client.readText("/n/far/n/near/n/far/tmp/from near"), "over two hops", "there and back again");
  await far.stop();
  await assert.rejects(client.readText("/n/far/tmp/from near"));
  assert.match(await client.readText("/sys/plugins/status"), /^ram up/m, "this node goes on");
});

Deno.test("a node that ends right after a program has ended says nothing of it", async () => {
  const dir = await Deno.makeTempDir();
  for (let round = 0; round < 4; round++) {
    const { code, text } = await boot(["--quiet", "--socket", `${dir}/s`], { input: "man ping\nexit\n" });
    assert.equal(code, 0, text);
    assert.match(text, /ping -n 2/);
    assert.doesNotMatch(text, /Uncaught/);
  }
  await Deno.remove(dir, { recursive: true });
});
