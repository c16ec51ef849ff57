/** The disk of the default image: kept from boot to boot, mended after a crash, and no obstacle where there is none. */

import assert from "node:assert/strict";
import { Client } from "../../core/p9/client.ts";
import { OWRITE } from "../../core/p9/types.ts";
import { dial } from "../../core/host/transports.ts";
import { interop, program } from "../skip.ts";
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
