/**
 * A node with an ext2 disk is killed (SIGKILL) in the middle of writes, again and again on one disk: `e2fsck -p` always
 * is enough, and what was synced is all there. RING9_EXT2_KILLS says how often; SEED repeats a run's operations.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { dial } from "../../core/host/transports.ts";
import { Client } from "../../core/p9/client.ts";
import { ORDWR } from "../../core/p9/types.ts";
import { makeDisk, makeImage } from "../ext2_image.ts";
import { interop, program } from "../skip.ts";
import { run, until } from "../interop/host.ts";

const KILLS = Number(Deno.env.get("RING9_EXT2_KILLS") ?? 20);
const ROOT = new URL("../../", import.meta.url);

/** A node that can be killed: one process, without `deno task` in front. */
class Victim {
  readonly #child: Deno.ChildProcess;
  readonly #socket: string;

  constructor(dir: string) {
    const task: string = JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT))).tasks.boot;
    const flags = task.slice(task.indexOf(" run ") + 1).split(" ");
    this.#socket = join(dir, "9p");
    const args = [...flags, "--no-console", "--quiet", "--socket", this.#socket, "--image", dir];
    this.#child = new Deno.Command(Deno.execPath(), { args, cwd: ROOT, stdout: "null", stderr: "null" }).spawn();
  }

  async connect(): Promise<Client> {
    const transport = await until(
      "the node listens",
      15_000,
      () => dial(`unix!${this.#socket}`).catch(() => undefined),
    );
    return await Client.connect(transport, { uname: "root", uid: 0 });
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await Deno.remove(this.#socket);
  }
}

/** Seeded numbers below n. */
function random(seed: number): (n: number) => number {
  let state = (seed % 2147483646) + 1;
  return (n) => (state = (state * 48271) % 2147483647) % n;
}

/** Writes files until the node dies, some of them synced; `synced` learns which those are. */
async function churn(client: Client, round: number, below: (n: number) => number, synced: Map<string, string>) {
  const home = `/tmp/round${round}`;
  await client.mkdir(home);
  for (let i = 0;; i++) {
    const name = `${home}/file${i}`, text = `${name} `.repeat(1 + below(600));
    const file = await client.create(name, 0o644, ORDWR);
    await file.writeAll(new TextEncoder().encode(text));
    if (below(4) === 0) {
      await file.fsync();
      synced.set(name, text);
    }
    await file.close();
    const other = `${home}/file${below(i + 1)}`;
    if (synced.has(other)) continue;
    const what = below(6);
    if (what < 2) await client.remove(other).catch(ignoreMissing);
    else if (what < 4) await client.rename(other, `${home}/moved${below(20)}`).catch(ignoreMissing);
    else if (what === 4) await client.mkdir(`${home}/dir${i}`);
  }
}

function ignoreMissing(thrown: unknown): void {
  if (!(thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT")) throw thrown;
}

async function fsck(disk: string, what: string): Promise<void> {
  const preen = await run("e2fsck", ["-p", disk]);
  assert.ok(preen.status < 4, `${what}: e2fsck -p: ${preen.status}\n${preen.stdout}${preen.stderr}`);
  const clean = await run("e2fsck", ["-fn", disk]);
  assert.equal(clean.status, 0, `${what}: after e2fsck -p: ${clean.stdout}`);
}

interop(`killed ${KILLS} times while it writes, a volume needs no more than e2fsck -p`, {
  needs: [program("e2fsck")],
}, async () => {
  const seed = Number(Deno.env.get("SEED") ?? Math.floor(Math.random() * 2 ** 31)), below = random(seed);
  const dir = await Deno.makeTempDir({ prefix: "ring9-kill-" }), disk = join(dir, "usr.img");
  try {
    await makeDisk(disk, 64 << 20);
    await makeImage(dir, disk);
    const synced = new Map<string, string>();
    let checked = 0;
    for (let round = 0; round <= KILLS; round++) {
      const what = `seed ${seed}, round ${round}`, victim = new Victim(dir), client = await victim.connect();
      for (const [name, text] of synced) {
        assert.equal(await client.readText(name), text, `${what}: ${name}`);
        checked++;
      }
      // What a round synced is looked at once: the disk is made room on.
      for (const name of synced.keys()) await client.remove(name);
      synced.clear();
      const died = churn(client, round, below, synced).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 20 + below(250)));
      await victim.kill();
      await died;
      await client[Symbol.asyncDispose]().catch(() => {});
      await fsck(disk, what);
    }
    assert.ok(checked > KILLS, `only ${checked} synced files were looked at`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
