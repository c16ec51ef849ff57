/**
 * plan9port: its 9p, 9pfuse, srv and 9pserve with ring9's server, and our client with its ramfs.
 *
 * What holds: the lines that boot prints for plan9port work as they stand. All of it is 9P2000, errors are text. 9pfuse
 * knows no interrupt: who reads an event file through it waits for the event, so blocking reads are tried with 9p.
 *
 * Needs: plan9port, which Debian has no package of: `9p` and `9pserve` on the path, or $PLAN9. For 9pfuse, /dev/fuse.
 */

import assert from "node:assert/strict";
import { userInfo } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { Client, OWRITE } from "deno-9p";
import { childTransport } from "../../core/host/transports.ts";
import { device, interop, type Need, program } from "../skip.ts";
import { must, run, type RunResult, until } from "./host.ts";
import { startRing9, type TestServer } from "./servers.ts";

/** Longer than anything here takes; a tool that hangs is a failure. */
const TIMEOUT_MS = 60_000;

/** Where plan9port's programs are. */
const BIN = plan9portBin();

const plan9port: Need = () => BIN ? undefined : "needs plan9port (9p on the path, or PLAN9 set)";
const fuse: readonly Need[] = [device("/dev/fuse"), program("fusermount")];

/** A directory for sockets and mounts, and how to run programs of plan9port there. */
class Place implements AsyncDisposable {
  readonly #env: Record<string, string>;

  private constructor(readonly dir: string) {
    const path = [BIN!, Deno.env.get("PATH") ?? ""].join(delimiter);
    this.#env = { PATH: path, PLAN9: dirname(BIN!), NAMESPACE: dir };
  }

  static async make(): Promise<Place> {
    return new Place(await Deno.makeTempDir({ prefix: "ring9-p9p-" }));
  }

  run(words: readonly string[], stdin = ""): Promise<RunResult> {
    const options = { cwd: this.dir, env: this.#env, timeoutMs: TIMEOUT_MS, stdin: new TextEncoder().encode(stdin) };
    return run(join(BIN!, words[0]), words.slice(1), options);
  }

  async must(words: readonly string[], stdin?: string): Promise<string> {
    const { status, stdout, stderr } = await this.run(words, stdin);
    assert.equal(status, 0, `${words.join(" ")}: ${stderr}${stdout}`);
    return stdout;
  }

  /** Lines for a shell that ends at the first that fails. */
  async shell(script: string): Promise<string> {
    return await must("sh", ["-ec", script], { cwd: this.dir, env: this.#env, timeoutMs: TIMEOUT_MS });
  }

  spawn(words: readonly string[]): Deno.ChildProcess {
    const options = { args: words.slice(1), env: this.#env, stdin: "piped", stdout: "piped", stderr: "null" } as const;
    return new Deno.Command(join(BIN!, words[0]), options).spawn();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.dir, { recursive: true });
  }
}

function plan9portBin(): string | undefined {
  const root = Deno.env.get("PLAN9"), path = (Deno.env.get("PATH") ?? "").split(delimiter);
  const dirs = [...root ? [join(root, "bin")] : [], ...path].filter((dir) => dir !== "");
  return dirs.find((dir) => ["9p", "9pserve"].every((name) => isFile(join(dir, name))));
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

interop(
  "plan9port's 9p reads and writes ring9's files, over TCP and a unix socket",
  { needs: [plan9port] },
  async (t) => {
    await using server = await startRing9();
    await using place = await Place.make();
    const at = await dials(server);
    assert.deepEqual(at.map((dial) => dial.replace(/!.*/, "")), ["unix", "tcp"]);
    for (const dial of at) {
      await t.step(`9p over ${dial.replace(/!.*/, "")}`, () => usesFiles(place, ["9p", "-a", dial]));
    }
    const ninep = ["9p", "-a", at[1]];
    await t.step("9p writes a ctl file and prints the error that comes back", async () => {
      await place.must([...ninep, "write", "/sys/plugins/ctl"], "load hello\n");
      assert.equal(await place.must([...ninep, "read", "/n/hello/hello"]), "hello, world\n");
      const { status, stderr } = await place.run([...ninep, "write", "/sys/plugins/ctl"], "rubbish\n");
      assert.match(`${status} ${stderr}`, /^1 \S*9p: write error: unknown command "rubbish"/);
      const said = await place.run([...ninep, "rdwr", "/sys/plugins/ctl"], "unload hello\nrubbish\n");
      assert.match(said.stderr, /^write: unknown command "rubbish".*\n$/);
      assert.doesNotMatch(await place.must([...ninep, "read", "/sys/plugins/status"]), /^hello /m);
    });
    await t.step("a 9p that is killed in a read that waits leaves nothing behind", async () => {
      const connections = () => place.must([...ninep, "read", "/sys/connections"]);
      const reader = place.spawn([...ninep, "read", "/sys/cores/event"]);
      await until("a read waits", TIMEOUT_MS, async () => / 1 in flight$/m.test(await connections()) || undefined);
      reader.kill("SIGKILL");
      await Promise.all([reader.status, reader.stdout.cancel(), reader.stdin.close().catch(() => {})]);
      await until("it is gone", TIMEOUT_MS, async () => !/ 1 in flight$/m.test(await connections()) || undefined);
    });
    await t.step("srv posts ring9, and 9pserve shares the connection, passing open files on", async () => {
      // They stay in the background with whatever they were given; they end when ring9 does.
      await place.shell(`srv '${at[1]}' ring9 >/dev/null 2>&1 </dev/null`);
      await usesFiles(place, ["9p"], "ring9");
      await place.must(["9p", "create", "ring9/tmp/passed"]);
      await place.must(["9p", "write", "ring9/tmp/passed"], "by a pipe\n");
      assert.equal(await place.must(["9p", "readfd", "ring9/tmp/passed"]), "by a pipe\n");
    });
  },
);

interop("plan9port's 9pfuse mounts ring9 by the lines that boot prints", { needs: [plan9port, ...fuse] }, async (t) => {
  await using server = await startRing9();
  await using place = await Place.make();
  for (const line of await printed(server)) {
    const [list, mount] = line.split(" ; ");
    await t.step(`9pfuse over ${mount.includes("unix!") ? "unix" : "tcp"}`, async () => {
      assert.match(await place.shell(list), /^tmp$/m);
      await place.shell(`mkdir mnt; ${mount.replace(/ \/mnt$/, " mnt")} >/dev/null 2>&1 </dev/null`);
      try {
        await place.shell(FUSE_SCRIPT);
      } finally {
        await place.shell("fusermount -u mnt; rmdir mnt");
      }
    });
  }
});

interop("our client and plan9port's ramfs", { needs: [plan9port] }, async () => {
  await using place = await Place.make();
  const child = place.spawn(["ramfs", "-i"]);
  const text = Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`).join("");
  {
    await using client = await Client.connect(childTransport(child, "exec!ramfs"), { uname: userInfo().username });
    assert.equal(client.dialect, "9P2000");
    await client.mkdir("/d");
    await client.writeFile("/d/lines", text);
    assert.equal(await client.readText("/d/lines"), text);
    await client.wstat("/d/lines", { name: "renamed", mode: 0o640 });
    const [{ name, mode, length }] = await client.list("/d", { stats: true });
    assert.deepEqual([name, mode & 0o777, length], ["renamed", 0o640, text.length]);
    await using file = await client.open("/d/renamed", OWRITE);
    await file.writeAll(new TextEncoder().encode("LINE"), 7);
    assert.equal((await client.readText("/d/renamed")).slice(0, 14), "line 0\nLINE 1\n");
    await assert.rejects(client.remove("/d"), { code: "ENOTEMPTY" });
    await assert.rejects(client.readFile("/none"), { code: "ENOENT" });
    for (let i = 0; i < 100; i++) await client.writeFile(`/d/file${i}`, "");
    assert.equal((await client.list("/d")).length, 101);
    for (const { name } of await client.list("/d")) await client.remove(`/d/${name}`);
    await client.remove("/d");
  }
  await child.status; // it goes on in another process, which ends with its standard input
});

/** The lines for plan9port that boot prints, for its unix socket and for TCP, once all has started. */
function printed(server: TestServer): Promise<string[]> {
  return until("boot prints how to mount it", TIMEOUT_MS, () => {
    const lines = [...server.log().matchAll(/^\s*plan9port\s+(9p .*)\n/gm)].map(([, line]) => line);
    return Promise.resolve(lines.length < 2 ? undefined : lines);
  });
}

/** The addresses in them. */
async function dials(server: TestServer): Promise<string[]> {
  return (await printed(server)).map((line) => /'(.+?)'/.exec(line)![1]);
}

/** Files of `ram` by a 9p command; `service` stands before paths where the command names no address. */
async function usesFiles(place: Place, ninep: string[], service = ""): Promise<void> {
  const text = Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`).join(""), file = `${service}/tmp/lines-ñ`;
  const did = (verb: string, ...words: string[]) => place.must([...ninep, verb, ...words]);
  await did("create", file);
  await place.must([...ninep, "write", file], text);
  assert.equal(await did("read", file), text);
  await place.must([...ninep, "write", "-l", file], "one\ntwo\n");
  assert.equal(await did("read", file), "one\ntwo\n");
  assert.match(await did("stat", file), /^'?lines-ñ'? '.+' .* m 0666 .* l 8 /);
  assert.match(await did("ls", "-l", `${service}/tmp`), /^--rw-rw-rw- M 0 \S+ \S+ +8 .* lines-ñ$/m);
  assert.match(await did("ls", "-ld", `${service}/tmp`), /^d-rwxrwxrwx .* tmp$/m);
  await did("rm", file);
  assert.match((await place.run([...ninep, "read", file])).stderr, /not found/);
  assert.match(await did("read", `${service}/proc/1/ns`), /^bind '#dev' \/dev$/m);
  assert.match((await place.run([...ninep, "rm", `${service}/sys/plugins/ctl`])).stderr, /permission denied/);
}

/** Files of `ram` and of the system below `mnt`. */
const FUSE_SCRIPT = `
same() { [ "$1" = "$2" ] || { echo "expected $1, got $2"; exit 1; }; }
cat mnt/proc/1/status mnt/sys/plugins/status mnt/dev/sysname >/dev/null
echo 'load hello' >mnt/sys/plugins/ctl
same 'hello, world' "$(cat mnt/n/hello/hello)"
echo 'unload hello' >mnt/sys/plugins/ctl
! echo rubbish 2>/dev/null >mnt/sys/plugins/ctl
cd mnt/tmp
mkdir -p tree/a/b; echo text >tree/a/b/file; seq 1 200000 >tree/big; cp tree/big ../../big
cp -r tree copy; diff -r tree copy
cmp ../../big copy/big
mv copy/a/b/file copy/a/b/moved; mv copy second
same text "$(cat second/a/b/moved)"
echo more >>second/a/b/moved
same "text more" "$(echo $(cat second/a/b/moved))"
chmod 640 second/big; same 640 "$(stat -c %a second/big)"
truncate -s 5 second/big; same 5 "$(stat -c %s second/big)"
touch -d @981173106 second/big; same 981173106 "$(stat -c %Y second/big)"
mkdir many; for i in $(seq 100); do : >many/file$i; done
same 100 "$(ls many | wc -l)"
! rmdir many 2>/dev/null
! cat none 2>/dev/null
exec 3<>held; echo kept >&3; rm held; echo on >&3; exec 3>&-
rm -r tree second many
same "" "$(ls)"
`;
