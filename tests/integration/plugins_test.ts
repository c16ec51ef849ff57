/** Plugins loaded, reloaded, unloaded and killed in a running node, through a mount, while other files are in use. */

import assert from "node:assert/strict";
import type { Err } from "../../core/err.ts";
import type { Client } from "../../core/p9/client.ts";
import { bootNode } from "../node.ts";

const PLACEMENTS = ["inline", "isolate", "process"] as const;
const BIG_BYTES = 48 << 20;

/** A plugin whose one file says `text`, from a module beside mod.ts. */
async function writePlugin(dir: string, text: string): Promise<void> {
  await Deno.mkdir(dir, { recursive: true });
  const manifest = { name: "edited", version: "1.0.0", api: 1, serves: ["/n/edited"], placement: "isolate" };
  await Deno.writeTextFile(`${dir}/plugin.json`, JSON.stringify(manifest));
  await Deno.writeTextFile(`${dir}/text.ts`, `export const text: string = ${JSON.stringify(text)};\n`);
  const code = `import { definePlugin, tree } from "ring9/plugin";
import { text } from "./text.ts";
export default definePlugin({ start: (ctx) => tree({ text: () => text }, ctx) });
`;
  await Deno.writeTextFile(`${dir}/mod.ts`, code);
}

/** Writes a command to a ctl file. */
async function ctl(client: Client, path: string, command: string): Promise<void> {
  const file = await client.open(path, 1);
  try {
    await file.write(new TextEncoder().encode(command), 0);
  } finally {
    await file.close();
  }
}

for (const placement of PLACEMENTS) {
  Deno.test(`${placement}: an edited plugin is reloaded while a large file of another is copied out, unharmed`, async () => {
    await using node = await bootNode();
    await using client = await node.connect();
    const folder = `${node.dir}/edited`;
    await writePlugin(folder, "one");
    await ctl(client, "/sys/plugins/ctl", `load ${folder} placement ${placement}`);
    assert.equal(await client.readText("/n/edited/text"), "one");

    const big = new Uint8Array(BIG_BYTES).map((_, i) => i * 7 + (i >> 12));
    await client.writeFile("/tmp/big", big);
    await using other = await node.connect();
    let copied = 0;
    const copy = (async () => {
      const file = await other.open("/tmp/big");
      const out = new Uint8Array(BIG_BYTES);
      for (let count = 1; count > 0; copied += count) {
        count = await file.read(out.subarray(copied, copied + 64 * 1024), copied);
      }
      await file.close();
      return out;
    })();

    for (const text of ["two", "three", "four"]) {
      await writePlugin(folder, text);
      const before = copied;
      await ctl(client, "/sys/plugins/edited/ctl", "reload");
      assert.equal(await client.readText("/n/edited/text"), text);
      assert.ok(copied > before || copied === BIG_BYTES, "the copy stood still");
    }
    assert.deepEqual(await copy, big);
    const status = await client.readText("/sys/plugins/edited/status");
    assert.match(status, /^generation 4$/m);
    assert.match(status, new RegExp(`^placement ${placement}$`, "m"));
  });

  Deno.test(`${placement}: code that does not start leaves the old code in place, and says why`, async () => {
    await using node = await bootNode();
    await using client = await node.connect();
    const folder = `${node.dir}/edited`;
    await writePlugin(folder, "good");
    await ctl(client, "/sys/plugins/ctl", `load ${folder} placement ${placement}`);
    await Deno.writeTextFile(`${folder}/mod.ts`, `throw new Error("broken on purpose");`);
    await assert.rejects(ctl(client, "/sys/plugins/edited/ctl", "reload"), /broken on purpose/);
    assert.equal(await client.readText("/n/edited/text"), "good");
    await Deno.writeTextFile(`${folder}/plugin.json`, `{ "name": "edited", "versoin": 1 }`);
    await assert.rejects(ctl(client, "/sys/plugins/edited/ctl", "reload"), /plugin\.json:1:\d+.*versoin/);
    assert.equal(await client.readText("/n/edited/text"), "good");
  });
}

Deno.test("unload is refused while files are open; forced, they answer an error and others go on", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  await writePlugin(`${node.dir}/edited`, "text");
  await ctl(client, "/sys/plugins/ctl", `load ${node.dir}/edited`);
  const open = await client.open("/n/edited/text");
  const other = await client.open("/dev/zero");
  await assert.rejects(ctl(client, "/sys/plugins/ctl", "unload edited"), /open files/);
  await ctl(client, "/sys/plugins/ctl", "unload edited force");
  await assert.rejects(open.read(new Uint8Array(10), 0), (e: Err) => e.code === "ESTALE");
  assert.equal(await other.read(new Uint8Array(10), 0), 10);
  const names = (await client.list("/n")).map((dir) => dir.name);
  assert.ok(!names.includes("edited"), names.join(" "));
  await open.close().catch(() => {});
  await other.close();
});

Deno.test("what the image has bound of a plugin goes and comes with it; what a user has bound stays, and says why", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  const plugins = (command: string) => ctl(client, "/sys/plugins/ctl", command);
  const lines = async () => (await client.readText("/proc/1/ns")).trimEnd().split("\n");
  await ctl(client, "/proc/1/ns", "bind -c '#ram' /n/mine\nbind -a '#ram' /n/both\n");
  const before = await lines(), tmp = "bind -c '#ram' /tmp";
  assert.ok(before.includes(tmp));

  await plugins("unload ram");
  assert.deepEqual(await lines(), before.filter((line) => line !== tmp));
  assert.deepEqual(await client.list("/tmp"), []);
  await assert.rejects(client.list("/n/mine"), { message: /plugin ram was unloaded/ });
  await plugins("load ram");
  assert.deepEqual((await lines()).toSorted(), before.toSorted());
  await client.writeFile("/tmp/f", new TextEncoder().encode("again"));
  assert.equal(await client.readText("/n/mine/f"), "again");

  // Of a union the first member, the last, and both.
  const dev = (await client.list("/dev")).map(({ name }) => name).toSorted();
  for (const names of [["dev"], ["cons"], ["dev", "cons"], ["cons", "dev"]]) {
    for (const name of names) await plugins(`unload ${name} force`);
    for (const name of names) await plugins(`load ${name}`);
    assert.deepEqual((await client.list("/dev")).map(({ name }) => name).toSorted(), dev);
    assert.equal((await lines()).filter((line) => line.endsWith(" /dev")).length, 2);
  }

  // One that was loaded later is bound where its manifest says now.
  await writePlugin(`${node.dir}/edited`, "text");
  await plugins(`load ${node.dir}/edited`);
  await plugins("unload edited");
  const manifest = await Deno.readTextFile(`${node.dir}/edited/plugin.json`);
  await Deno.writeTextFile(`${node.dir}/edited/plugin.json`, manifest.replace("/n/edited", "/n/moved"));
  await plugins(`load ${node.dir}/edited`);
  assert.equal(await client.readText("/n/moved/text"), "text");
  assert.ok(!(await lines()).some((line) => line.endsWith("/n/edited")));
});

Deno.test("a reload that finds what the old generation holds alone leaves that be, and says what would do", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  const folder = `${node.dir}/edited`;
  await writePlugin(folder, "x");
  const code = `import { definePlugin, Err, tree } from "ring9/plugin";
export default definePlugin({
  start: (ctx, reason) => {
    if (reason === "upgrade") throw new Err("EBUSY", "the device is in use");
    return tree({ text: reason }, ctx);
  },
});
`;
  await Deno.writeTextFile(`${folder}/mod.ts`, code);
  await ctl(client, "/sys/plugins/ctl", `load ${folder}`);
  await assert.rejects(ctl(client, "/sys/plugins/ctl", "reload edited"), {
    code: "EBUSY",
    message: /the device is in use .*try: restart edited/,
  });
  assert.equal(await client.readText("/n/edited/text"), "fresh");
  await ctl(client, "/sys/plugins/ctl", "restart edited");
  assert.equal(await client.readText("/n/edited/text"), "restart");
});

Deno.test("a plugin that kills itself is restarted, and then answers again", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  const folder = `${node.dir}/edited`;
  await writePlugin(folder, "x");
  const code = `import { ctl, definePlugin, tree } from "ring9/plugin";
export default definePlugin({
  start: (ctx) => tree({ text: "alive", ctl: ctl({ crash() { queueMicrotask(() => { throw new Error("oops"); }); } }) }, ctx),
});
`;
  await Deno.writeTextFile(`${folder}/mod.ts`, code);
  await ctl(client, "/sys/plugins/ctl", `load ${folder}`);
  await ctl(client, "/n/edited/ctl", "crash").catch(() => {}); // it may be gone before it answers
  for (let tries = 0;; tries++) {
    assert.ok(tries < 200, await client.readText("/sys/plugins/edited/status"));
    const text = await client.readText("/n/edited/text").catch(() => "");
    const status = await client.readText("/sys/plugins/edited/status");
    if (text === "alive" && /^restarts 1$/m.test(status) && /^state up$/m.test(status)) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.match(await client.readText("/sys/plugins/edited/status"), /^error .*oops/m);
});

Deno.test("who is not the hostowner may look, and control nothing", async () => {
  await using node = await bootNode();
  await using client = await node.connect({ uname: "mallory", uid: 4242 });
  assert.match(await client.readText("/sys/plugins/status"), /^ram up inline/m);
  await assert.rejects(
    ctl(client, "/sys/plugins/ctl", "unload ram force"),
    (e: Err) => e.code === "EACCES" || e.code === "EPERM",
  );
  await assert.rejects(ctl(client, "/proc/1/ctl", "kill"), (e: Err) => e.code === "EACCES" || e.code === "EPERM");
});

Deno.test("wrong commands are refused with what would be right", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  const refused: [string, RegExp][] = [
    ["lod x", /unknown command/],
    ["load", /plugin/],
    ["load nosuch", /no plugin is called nosuch/],
    ["load ''", /no plugin is called ''/],
    ["load hello as ctl", /no plugin can be called ctl/],
    ["load hello as status", /no plugin can be called status/],
    ["load hello as ..", /\.\.: a name is lower-case letters/],
    ["load ram as ram.two", /ram\.two: a name is lower-case letters/],
    ["load hello as h placement isolate cpu 4000", /there is no core 4000/],
    ["load host as h root=/no/such", /root \/no\/such: file does not exist/],
    ["load ../../etc", /there is no plugin(\.json in|'s folder) \.\./],
    ["load ram", /loaded already/],
    ["load hello as a/b", /name/],
    ["load hello placement moon", /placement/],
    ["load hello cpu x", /cpu/],
    ["load hello nothing=1", /nothing/],
    ["load hello placement inline cpu 0", /hello runs inline.*: cpu 0 is for the placements isolate and process/],
    ["load hello placement inline cores 1", /hello runs inline.*: cores is for the placements isolate/],
    ["load host as h2 placement isolate root=/tmp", /process/],
    ["load sys as s2 placement process", /kernel/],
    ["unload nosuch", /no plugin is called/],
    ["unload ram gently", /force/],
    ["reload nosuch", /no plugin is called/],
  ];
  const before = (await client.readText("/sys/plugins/status")).split("\n").length;
  for (const [command, why] of refused) await assert.rejects(ctl(client, "/sys/plugins/ctl", command), why, command);
  assert.equal((await client.readText("/sys/plugins/status")).split("\n").length, before);
});

Deno.test("a program whose file waits is given up with the write that starts it", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  await ctl(client, "/sys/plugins/ctl", "load chat");
  await using file = await client.open("/proc/1/ctl", 1);
  const start = file.write(new TextEncoder().encode("run /n/chat/room"), 0, AbortSignal.timeout(50));
  await assert.rejects(start, { code: "EINTR" });
});

Deno.test("Ctrl-C ends a node cleanly, its socket with it", async () => {
  const node = await bootNode();
  await using _client = await node.connect();
  assert.equal(await node.stop(), 0);
});

for (const signal of ["SIGTERM", "SIGHUP"] as const) {
  Deno.test(`${signal} to all its processes ends a node as cleanly`, async () => {
    const node = await bootNode();
    await using _client = await node.connect();
    assert.equal(await node.stop(signal), 0);
  });
}

Deno.test("load refuses a plugin with no place to serve at, or without what it needs, and leaves nothing behind", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  const folder = `${node.dir}/edited`;
  await writePlugin(folder, "text");
  const load = async (keys: object) => {
    const manifest = { name: "edited", version: "1.0.0", api: 1, ...keys };
    await Deno.writeTextFile(`${folder}/plugin.json`, JSON.stringify(manifest));
    await ctl(client, "/sys/plugins/ctl", `load ${folder}`);
  };
  const refused: [object, RegExp][] = [
    [{ serves: "/nosuch/place" }, /edited can not serve \/nosuch\/place: .*file does not exist.*mkdir/],
    [{ serves: ["/n/edited", "/nosuch"] }, /edited can not serve \/nosuch/],
    [{ needs: ["/net/ether0", "/tmp"] }, /edited needs \/net\/ether0, which nobody serves/],
    [{ needs: ["#nosuch", "/n/anything"] }, /edited needs #nosuch and \/n\/anything, which nobody serves/],
  ];
  for (const [keys, why] of refused) {
    await assert.rejects(load(keys), why);
    assert.doesNotMatch(await client.readText("/sys/plugins/status"), /^edited /m);
    assert.doesNotMatch(await client.readText("/proc/1/ns"), /edited/);
  }
  await load({ serves: "/n/edited", needs: ["/tmp", "/dev/null", "#ram"] });
  assert.equal(await client.readText("/n/edited/text"), "text");
  await client.mkdir("/tmp/here");
  await ctl(client, "/sys/plugins/ctl", "unload edited");
  await load({ serves: "/tmp/here" });
  assert.equal(await client.readText("/tmp/here/text"), "text");
});

/** A plugin whose reads take their time, and tell how many ran at once. */
async function writeSlow(dir: string, keys: object): Promise<void> {
  await writePlugin(dir, "");
  const manifest = { name: "edited", version: "1.0.0", api: 1, serves: ["/n/edited"], ...keys };
  await Deno.writeTextFile(`${dir}/plugin.json`, JSON.stringify(manifest));
  const code = `import { ctl, definePlugin, event, tree } from "ring9/plugin";
let now = 0, most = 0;
export default definePlugin({
  start: (ctx) => tree({
    async slow() {
      most = Math.max(most, ++now);
      await new Promise<void>((done) => void ctx.clock.after(10, done));
      now--;
      return "done";
    },
    most: () => most,
    never: event(),
    text: "text",
    ctl: ctl({ "exit status:int": (status) => (globalThis as any).Deno.exit(status) }),
  }, ctx),
});
`;
  await Deno.writeTextFile(`${dir}/mod.ts`, code);
}

for (const placement of ["isolate", "process"]) {
  Deno.test(`${placement}: no more requests than limits.inFlight are under way; the others wait, and can be flushed`, async () => {
    await using node = await bootNode();
    await using client = await node.connect();
    await writeSlow(`${node.dir}/edited`, { limits: { inFlight: 4 } });
    await ctl(client, "/sys/plugins/ctl", `load ${node.dir}/edited placement ${placement}`);
    const all = await Promise.all(Array.from({ length: 40 }, () => client.readText("/n/edited/slow")));
    assert.deepEqual(new Set(all), new Set(["done"]));
    assert.equal(await client.readText("/n/edited/most"), "4\n");

    const stats = () => client.readText("/sys/plugins/edited/stats");
    const until = async (shown: RegExp) => {
      while (!shown.test(await stats())) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    const never = await client.open("/n/edited/never"), text = await client.open("/n/edited/text");
    await until(/^inflight 0$/m);
    const blocked = Array.from({ length: 4 }, () => new AbortController());
    const ends = blocked.map(({ signal }) =>
      assert.rejects(never.read(new Uint8Array(9), 0, signal), { code: "EINTR" })
    );
    await until(/^inflight 4$/m);
    const given = new AbortController();
    const givenUp = assert.rejects(text.read(new Uint8Array(9), 0, given.signal), { code: "EINTR" });
    const waits = text.read(new Uint8Array(9), 0);
    await until(/^inflight 6$/m);
    given.abort();
    await givenUp;
    blocked[0].abort();
    assert.equal(await waits, 4);
    for (const one of blocked) one.abort();
    await Promise.all(ends);
    await until(/^inflight 0$/m);
    await never.close();
    await text.close();
  });
}

Deno.test("after a normal end a permanent plugin is started again, a transient one not; after an abnormal end both are", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  const status = () => client.readText("/sys/plugins/edited/status");
  const until = async (shown: RegExp) => {
    for (let text = ""; !shown.test(text); text = await status()) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const exit = (code: number) => ctl(client, "/n/edited/ctl", `exit ${code}`).catch(() => {}); // it does not answer
  const cases: [string, number, RegExp][] = [
    ["permanent", 0, /^state up$[^]*^restarts 1$/m],
    ["transient", 0, /^state ended$[^]*^restarts 0$/m],
    ["transient", 1, /^state up$[^]*^restarts 1$/m],
    ["temporary", 1, /^state failed$[^]*^restarts 0$/m],
  ];
  for (const [restart, code, shown] of cases) {
    await writeSlow(`${node.dir}/edited`, { restart, placement: "process" });
    await ctl(client, "/sys/plugins/ctl", `load ${node.dir}/edited`);
    await exit(code);
    await until(shown);
    if (/ended/.test(shown.source)) {
      await assert.rejects(client.readText("/n/edited/text"), /plugin edited has ended/);
      await ctl(client, "/sys/plugins/edited/ctl", "restart");
      assert.equal(await client.readText("/n/edited/text"), "text");
    }
    await ctl(client, "/sys/plugins/edited/ctl", "unload force");
  }
});

for (const placement of PLACEMENTS) {
  Deno.test(`${placement}: a programmer's error is in the log with its stack; who asked gets EIO and the plugin's name`, async () => {
    await using node = await bootNode();
    await using client = await node.connect();
    await writePlugin(`${node.dir}/edited`, "text");
    const code = `import { definePlugin, dynamic, Err, file, tree } from "ring9/plugin";
const nothing = undefined as unknown as { password: string };
export default definePlugin({
  start: (ctx) => tree({
    once: () => nothing.password,
    later: async () => (await null, nothing.password),
    written: file({ message: () => { throw new Error("the password is xyzzy"); } }),
    walked: dynamic({ list: () => [], get: () => nothing.password as never }),
    refused: () => { throw new Err("EDQUOT", "that is enough"); },
    host: () => { throw Object.assign(new Error("no xyzzy (os error 2)"), { code: "ENOENT" }); },
  }, ctx),
});
`;
    await Deno.writeTextFile(`${node.dir}/edited/mod.ts`, code);
    await ctl(client, "/sys/plugins/ctl", `load ${node.dir}/edited placement ${placement}`);
    const attempts: Record<string, () => Promise<unknown>> = {
      once: () => client.readText("/n/edited/once"),
      later: () => client.readText("/n/edited/later"),
      written: () => ctl(client, "/n/edited/written", "x"),
      walked: () => client.walk("/n/edited/walked").then((dir) => dir.walk("x")),
    };
    for (const [name, attempt] of Object.entries(attempts)) {
      const before = (await client.readText("/sys/log")).length;
      await assert.rejects(attempt(), (e: Err) => {
        assert.equal(e.code, "EIO", name);
        assert.match(e.message, /plugin edited: internal error/, name);
        assert.doesNotMatch(e.message, /xyzzy|password/, name);
        return true;
      });
      const log = (await client.readText("/sys/log")).slice(before);
      assert.match(log, /edited: internal error: (TypeError|Error): .*password.*\n.* at .*edited\/mod\.ts/, name);
    }
    await assert.rejects(client.readText("/n/edited/refused"), { code: "EDQUOT", message: /that is enough/ });
    await assert.rejects(
      client.readText("/n/edited/host"),
      (e: Err) => e.code === "ENOENT" && !/xyzzy/.test(e.message),
    );
    assert.match(await client.readText("/sys/plugins/edited/status"), /^state up$/m);
  });
}

for (const placement of PLACEMENTS) {
  const ends = placement === "inline" ? "" : ", and what blocks in it ends with ESTALE";
  Deno.test(`${placement}: one that is unloaded has its time to stop${ends}`, async () => {
    await using node = await bootNode();
    await using client = await node.connect();
    await writePlugin(`${node.dir}/edited`, "text");
    const code = `import { definePlugin, event, tree } from "ring9/plugin";
let pause: (ms: number) => Promise<void>;
export default definePlugin({
  start(ctx) {
    pause = (ms) => new Promise((done) => void ctx.clock.after(ms, done));
    ctx.defer(async () => (await pause(50), ctx.log("disposed")));
    return tree({ never: event() }, ctx);
  },
  stop: () => pause(50),
});
`;
    await Deno.writeTextFile(`${node.dir}/edited/mod.ts`, code);
    await ctl(client, "/sys/plugins/ctl", `load ${node.dir}/edited placement ${placement}`);
    const never = await client.open("/n/edited/never");
    const blocked = never.read(new Uint8Array(9), 0);
    const ended = placement === "inline"
      ? void blocked.catch(() => {}) // as the plugin likes
      : assert.rejects(blocked, { code: "ESTALE", message: /was stopped/ });
    await ctl(client, "/sys/plugins/ctl", "unload edited force");
    await ended;
    assert.match(await client.readText("/sys/log"), /edited: disposed\n/);
    await never.close().catch(() => {});
  });
}

Deno.test("an isolate uses the trees of the name space that its manifest names, and no others", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  const folder = `${node.dir}/reader`;
  await Deno.mkdir(folder);
  const manifest = { name: "reader", version: "1.0.0", api: 1, permissions: { files: ["/tmp/mine"] } };
  await Deno.writeTextFile(`${folder}/plugin.json`, JSON.stringify(manifest));
  const code = `import { ctl, definePlugin, tree } from "ring9/plugin";
export default definePlugin({
  start(ctx) {
    let said = "";
    const read = async (path: string, name: string) => {
      const root = await ctx.files!.attach({ aname: path }), file = await root.walk(name);
      await file.open();
      said = new TextDecoder().decode(await file.readAll());
    };
    return tree({ ctl: ctl({ "read path name": read }), said: () => said }, ctx);
  },
});
`;
  await Deno.writeTextFile(`${folder}/mod.ts`, code);
  await ctl(client, "/sys/plugins/ctl", `load ${folder} placement isolate`);
  await ctl(client, "/proc/1/ns", "bind '#reader' /n/reader");
  assert.match(await client.readText("/sys/plugins/reader/status"), /^confinement .*, files \/tmp\/mine$/m);
  const read = (text: string) => ctl(client, "/n/reader/ctl", `read ${text}`);
  await assert.rejects(read("/tmp/mine file"), { code: "ENOENT" });
  await client.mkdir("/tmp/mine");
  await client.mkdir("/tmp/mine/deep");
  await client.writeFile("/tmp/mine/deep/file", "granted");
  await client.writeFile("/tmp/other", "not granted");
  for (const way of ["/tmp/mine deep/file", "/tmp/mine/deep file"]) {
    await read(way);
    assert.equal(await client.readText("/n/reader/said"), "granted");
  }
  for (const way of ["/tmp other", "/tmp/mine2 x", "/tmp/mine/../ other", "/ tmp/other"]) {
    await assert.rejects(read(way), /not among the files|bad attach name/, way);
  }
  await assert.rejects(read("/tmp/mine ../other"));
});
