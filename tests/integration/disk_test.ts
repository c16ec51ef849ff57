/** Disks of images: filled at the first boot, kept from then on, mended after a crash, and no obstacle where there is none. */

import assert from "node:assert/strict";
import { Client } from "../../core/p9/client.ts";
import { OWRITE } from "../../core/p9/types.ts";
import { dial } from "../../core/host/transports.ts";
import { runBoot } from "../boot_command.ts";
import { ffi, interop, program } from "../skip.ts";
import { bootNode, type TestNode } from "../node.ts";

async function withClient<T>(node: TestNode, use: (client: Client) => Promise<T>): Promise<T> {
  const client = await Client.connect(await dial(node.address), { uname: "root", uid: 0 });
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

const read = (client: Client, path: string) => client.readText(path);
const write = (client: Client, path: string, text: string) => client.writeFile(path, text);
const STATUS = "/n/disks/status";

/** Shows the disks' state at /n/disks. */
async function showDisks(client: Client): Promise<void> {
  await write(client, "/proc/1/ns", "bind '#ext2' /n/disks\n");
}

interop(
  "what is written at /usr is there after the next boot, and after a crash",
  { needs: [program("e2fsck")] },
  async () => {
    const data = await Deno.makeTempDir();
    const image = `${data}/sub/ring9/usr.img`, args = ["--data", `${data}/sub/ring9`];
    try {
      await using first = await bootNode(...args);
      await withClient(first, (client) => write(client, "/usr/kept", "kept"));
      const { mode, size } = Deno.statSync(image);
      assert.deepEqual([mode! & 0o777, size], [0o600, 2 ** 30]);
      await using second = await bootNode(...args);
      await withClient(second, async (client) => {
        await showDisks(client);
        assert.match(await read(client, STATUS), /^usr absent .* in use by another program\n$/);
        assert.deepEqual((await client.list("/usr")).map(({ name }) => name), []);
        await assert.rejects(write(client, "/usr/none", ""));
      });
      assert.equal(await first.stop(), 0);
      assert.equal(new Deno.Command("e2fsck", { args: ["-fn", image] }).outputSync().code, 0);
      {
        await using third = await bootNode(...args);
        await withClient(third, async (client) => {
          assert.equal(await read(client, "/usr/kept"), "kept");
          const file = await client.open("/usr/kept", OWRITE);
          await file.write(new TextEncoder().encode("safe"), 0);
          await file.fsync();
          await file.close();
        });
        await third.crash();
      }
      await using fourth = await bootNode(...args);
      await withClient(fourth, async (client) => {
        await showDisks(client);
        assert.equal(await read(client, "/usr/kept"), "safe");
        assert.match(await read(client, STATUS), /^usr rw /);
        assert.match(await read(client, "/sys/log"), /usr: was not closed cleanly: \d+ problems mended/);
      });
    } finally {
      await Deno.remove(data, { recursive: true });
    }
  },
);

Deno.test("a folder that can not be made, and a file that is no disk, are told and stop no boot", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${dir}/file`, "");
    await Deno.writeTextFile(`${dir}/usr.img`, "no disk".repeat(1000));
    for (
      const [folder, why] of [[`${dir}/file/sub`, /usr absent disk .*file\/sub/], [
        dir,
        /no ext2 file system here/,
      ]] as const
    ) {
      await using node = await bootNode("--data", folder);
      await withClient(node, async (client) => {
        await showDisks(client);
        assert.match(await read(client, STATUS), why);
        assert.deepEqual((await client.list("/usr")).map(({ name }) => name), []);
      });
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

const ROOT = new URL("../../", import.meta.url), IMAGE = new URL("images/default/", ROOT);

/** Boots with a console at a socket of its own, and types `input`. */
async function bootConsole(args: string[], input = ""): Promise<{ code: number; text: string }> {
  const dir = await Deno.makeTempDir();
  try {
    return await runBoot(["--socket", `${dir}/9p`, ...args], { input });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** A folder with the default image but for its disk's line. */
async function imageWith(dir: string, volume: string): Promise<string> {
  const image = JSON.parse(await Deno.readTextFile(new URL("image.json", IMAGE)));
  delete image.$schema;
  for (const entry of image.plugins) if (entry.plugin === "ext2") entry.options.volumes = [volume];
  await Deno.mkdir(`${dir}/image`, { recursive: true });
  await Deno.writeTextFile(`${dir}/image/image.json`, JSON.stringify(image));
  await Deno.copyFile(new URL("namespace", IMAGE), `${dir}/image/namespace`);
  return `${dir}/image`;
}

interop("the first boot fills /usr, and the console has what is there; the second says nothing of it", {
  needs: [ffi],
}, async () => {
  const data = await Deno.makeTempDir();
  try {
    const readme = await Deno.readTextFile(new URL("usr/README.md", IMAGE));
    const program = readme.split("\n").filter((line) => /^ {4}% (echo '|hello)/.test(line)).map((line) =>
      line.slice(6)
    );
    assert.equal(program.length, 3);
    const first = await bootConsole(
      ["--data", data],
      ["cat /usr/README.md", ...program, "tree /usr/lib", ""].join("\n"),
    );
    assert.equal(first.code, 0, first.text);
    assert.match(
      first.text,
      /disk usr .*\/usr\.img, \d+ MiB of 1024 MiB free, .*with \d+ files from .*\/images\/default\/usr\n/,
    );
    assert.ok(first.text.includes(readme));
    assert.match(first.text, /% hello, glenda\n/, "the README's program");
    assert.match(first.text, /\d+ \/usr\/lib\/man\/tree\.md\n/);
    const second = await bootConsole(["--data", data], "hello again\nrm /usr/lib/profile\nls /bin\n");
    assert.match(second.text, /disk usr .* MiB free\n/);
    assert.match(second.text, /% hello, again\n/);
    const third = await bootConsole(["--data", data], "hello\nls /usr/lib\n");
    assert.match(third.text, /hello: no such command/, "without a profile nothing is bound");
    assert.match(third.text, /% man\nnamespace\n%/, "what was removed stays so");
  } finally {
    await Deno.remove(data, { recursive: true });
  }
});

interop("a folder that is not there: the image's line is told, and ends the boot unless it is optional", {
  needs: [ffi],
}, async () => {
  const dir = await Deno.makeTempDir();
  try {
    const line = "usr=usr.img create=8M from=nowhere", why = `from=nowhere: ${dir}/image/nowhere: file does not exist`;
    const image = await imageWith(dir, line), args = ["--image", image, "--data", `${dir}/data`];
    const refused = await bootConsole(args);
    assert.deepEqual([refused.code, /^ring9: cannot.*$/m.exec(refused.text)?.[0]], [
      78,
      `ring9: cannot boot: default/image.json: ext2: volumes: "${line}": cannot open usr.img as usr: ${why}`,
    ]);
    assert.throws(() => Deno.statSync(`${dir}/data`), Deno.errors.NotFound);
    await imageWith(dir, `${line} optional`);
    const booted = await bootConsole(args);
    assert.equal(booted.code, 0);
    assert.ok(booted.text.includes(`not there: cannot open usr.img as usr: ${why}\n`), booted.text);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

interop("killed while its disk is filled, the next boot fills it", { needs: [ffi, program("e2fsck")] }, async () => {
  const dir = await Deno.makeTempDir(), files = 600;
  try {
    const image = await imageWith(dir, "usr=usr.img create=64M from=usr repair"), disk = `${dir}/data/usr.img`;
    await Deno.mkdir(`${image}/usr`);
    for (let i = 0; i < files; i++) Deno.writeTextFileSync(`${image}/usr/f${i}`, `file ${i}\n`.repeat(500));
    const args = ["--image", image, "--data", `${dir}/data`];
    const flags =
      /deno run (.*) cmd\/boot\.ts/.exec(JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT))).tasks.boot)![1];
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", ...flags.split(" "), "cmd/boot.ts", ...args, "--no-console", "--quiet", "--socket", `${dir}/9p`],
      cwd: ROOT,
      stdout: "null",
      stderr: "null",
    }).spawn();
    const blocks = async () => (await Deno.stat(disk).catch(() => null))?.blocks ?? 0;
    let ended = false;
    child.status.then(() => ended = true);
    while (!ended && await blocks() < 200) await new Promise((resolve) => setTimeout(resolve, 1));
    child.kill("SIGKILL");
    await child.status;
    await using node = await bootNode(...args);
    await withClient(node, async (client) => {
      assert.equal((await client.list("/usr")).filter(({ name }) => name.startsWith("f")).length, files);
      for (const i of [0, 300, files - 1]) assert.equal(await read(client, `/usr/f${i}`), `file ${i}\n`.repeat(500));
    });
    assert.equal(await node.stop(), 0);
    assert.equal(new Deno.Command("e2fsck", { args: ["-fn", disk] }).outputSync().code, 0);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
