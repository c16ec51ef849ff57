import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { listen } from "../core/host/transports.ts";
import { Srv } from "../core/p9/srv.ts";
import { RamDev, ramOptions } from "../plugins/ram/mod.ts";

const PROGRAM = fileURLToPath(new URL("./9p.ts", import.meta.url));
const CONFIG = fileURLToPath(new URL("../deno.json", import.meta.url));
const RIGHTS = "--no-prompt --allow-net --allow-read --allow-write --allow-env=USER,LOGNAME --allow-sys"
  .split(" ");

interface Result {
  status: number;
  out: Uint8Array;
  text: string;
  err: string;
}

/** Runs the program with the rights that the task gives it. */
async function ninep(args: string[], input: Uint8Array | string = ""): Promise<Result> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", "--config", CONFIG, ...RIGHTS, PROGRAM, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
  const fed = new Blob([new Uint8Array(bytes)]).stream().pipeTo(child.stdin).catch(() => {}); // one that reads nothing
  const { code, stdout, stderr } = await child.output();
  await fed;
  return { status: code, out: stdout, text: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

/** A tree in memory, served on a unix socket while `body` runs. */
async function served(body: (address: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "9p-" });
  const clock = { now: Date.now, monotonic: () => performance.now(), after: () => () => {} };
  const srv = new Srv(new RamDev("ram", clock, "hostowner", ramOptions({})));
  const address = `unix!${dir}/9p`;
  const listener = await listen(address);
  const accepting = (async () => {
    for await (const transport of listener) srv.serve(transport);
  })();
  try {
    await body(address);
  } finally {
    listener.close();
    srv.close();
    await accepting;
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("9p makes, writes, lists, reads and removes files", () =>
  served(async (at) => {
    assert.equal((await ninep(["mkdir", "-p", at, "/a/b/c"])).status, 0);
    assert.equal((await ninep(["write", "--create", at, "/a/b/f"], "one\n")).status, 0);
    assert.equal((await ninep(["write", "--append", at, "/a/b/f"], "two\n")).status, 0);
    assert.equal((await ninep(["cat", at, "/a/b/f", "/a/b/f"])).text, "one\ntwo\none\ntwo\n");
    assert.equal((await ninep(["ls", "-R", at, "/a"])).text, "/a:\nb\n\n/a/b:\nc\nf\n\n/a/b/c:\n");
    assert.match((await ninep(["ls", "-l", at, "/a/b"])).text, /^d[rwx-]{9} .* c\n-[rwx-]{9} +1 +\S+ +\S+ +8 .* f\n$/);
    const refused = await ninep(["rm", at, "/a"]);
    assert.equal(refused.status, 1);
    assert.match(refused.err, /^9p: cannot remove \/a at unix!.*not empty \(try: 9p rm -r\)\n$/);
    assert.equal((await ninep(["rm", "-r", at, "/a"])).status, 0);
    assert.equal((await ninep(["ls", at])).text, "");
  }));

Deno.test("9p carries any bytes, and more than fit in a message", () =>
  served(async (at) => {
    const bytes = new Uint8Array(5_000_000).map((_, i) => (i * 31) ^ (i >> 9));
    assert.equal((await ninep(["write", "--create", at, "/big"], bytes)).status, 0);
    const { out } = await ninep(["cat", at, "/big"]);
    assert.ok(out.length === bytes.length && out.every((byte, i) => byte === bytes[i]));
  }));

Deno.test("9p --json prints values, and errors too", () =>
  served(async (at) => {
    await ninep(["write", "--create", at, "/f"], Uint8Array.of(0xff, 0));
    const [file] = JSON.parse((await ninep(["stat", "--json", at, "/f"])).text);
    assert.deepEqual([file.path, file.kind, file.size], ["/f", "file", 2]);
    assert.deepEqual(JSON.parse((await ninep(["cat", "--json", at, "/f"])).text), [{
      path: "/f",
      size: 2,
      base64: "/wA=",
    }]);
    const { status, text, err } = await ninep(["ls", "--json", at, "/none", "/f"]);
    assert.equal(status, 1);
    assert.equal(JSON.parse(text).length, 1);
    assert.equal(JSON.parse(err).error, "ENOENT");
  }));

Deno.test("9p says what failed, on what, and what to try", async () => {
  const cases: [args: string[], status: number, err: RegExp][] = [
    [[], 2, /a command is missing \(try: 9p --help\)/],
    [["frob", "unix!/x"], 2, /no command 'frob'/],
    [["ls", "localhost:564"], 2, /write tcp!localhost!564/],
    [["cat", "unix!/x"], 2, /which file\?/],
    [["ls", "--what"], 2, /Unknown option '--what' \(try: 9p --help\)/],
    [["ls", "unix!/x", "--timeout", "soon"], 2, /--timeout: "soon" is not a number/],
    [["ls", "unix!/x", "--timeout", "1e99"], 2, /--timeout: "1e99" is not a number/],
    [["ls", "unix!/x", "--uid", "-1"], 2, /--uid/],
    [["ls", "unix!/x", "--msize", "1"], 2, /--msize: "1" is not an integer from 4096/],
    [["ls", "unix!/x", "--dialect", "9P3000"], 2, /there is no '9P3000'/],
    [["ls", "unix!/no/such/socket"], 1, /cannot connect to unix!\/no\/such\/socket: .*is the server running\?/],
  ];
  const results = await Promise.all(cases.map(([args]) => ninep(args)));
  for (const [i, { status, err, text }] of results.entries()) {
    assert.equal(status, cases[i][1]);
    assert.equal(text, "");
    assert.match(err, /^9p: .*\n$/);
    assert.match(err, cases[i][2]);
  }
  assert.match((await ninep(["--help"])).text, /usage: 9p[^]*examples/);
});
