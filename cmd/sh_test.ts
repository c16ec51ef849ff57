/** The console's command loop, on a kernel of its own. */

import assert from "node:assert/strict";
import { bootKernel } from "../core/kernel_testing.ts";
import { turn } from "../core/host/turn.ts";
import { ORDWR } from "../core/p9/types.ts";
import dev from "../plugins/dev/mod.ts";
import proc from "../plugins/proc/mod.ts";
import ram from "../plugins/ram/mod.ts";
import { Shell } from "./sh.ts";
import { parseLine } from "./sh_parse.ts";

interface Said {
  out: string;
  err: string;
}

/** A shell whose output and errors are files; answers what a line, or with `file` those of a file, left in them. */
async function shell(): Promise<((line: string) => Promise<Said>) & { file(path: string): Promise<Said> }> {
  const { init } = await bootKernel({
    plugins: { ram, proc },
    root: ["tmp/", "proc/", "n/"],
    binds: { "/tmp": "#ram", "/proc": "#proc" },
  });
  for (const name of ["in", "out", "err"]) await init.create(`/tmp/${name}`, ORDWR);
  const sh = new Shell(init);
  const take = async (path: string, fd: number) => {
    const text = await init.readText(path);
    await init.close(await init.create(path));
    await init.seek(fd, 0);
    return text;
  };
  const said = async () => ({ out: await take("/tmp/out", 1), err: await take("/tmp/err", 2) });
  return Object.assign(async (line: string) => (await sh.runLine(line + "\n"), await said()), {
    file: async (path: string) => (await sh.runFile(path), await said()),
  });
}

const words = (text: string) => parseLine(text, (name) => name === "user" ? "glenda" : undefined);
const refused = (text: string, why: RegExp) => assert.throws(() => words(text), why, text);

Deno.test("a line is words as rc has them, and where the output goes", () => {
  assert.deepEqual(words("echo 'it''s'  a$user b").words, ["echo", "it's", "aglenda", "b"]);
  assert.deepEqual(words("cat '#ram/x' #ram # the rest").words, ["cat", "#ram/x", "#ram"]);
  assert.deepEqual(words("echo a>>b").redirect, { path: "b", append: true });
  assert.deepEqual(words("echo ';' 'a|b'").words, ["echo", ";", "a|b"]);
  assert.deepEqual(words("# nothing"), { words: [], redirect: null });
});

Deno.test("what a line can not say is refused, and nothing of it has run", async () => {
  for (const text of ["ls; rm x", "ls | cat", "cat <x", "ls &"]) refused(text, /quote it/);
  refused("echo 'open", /not closed/);
  refused("echo a > b > c", /only one >/);
  refused("echo >", /nothing follows/);
  refused("echo $none", /\$none is not set/);
  const run = await shell();
  assert.match((await run("echo a > /tmp/x; cat /tmp/x")).err, /; is not known here/);
  assert.doesNotMatch((await run("ls /tmp")).out, /x/);
});

Deno.test("the lines of a file are run, each by itself; one that is not there has none", async () => {
  const run = await shell();
  await run("echo '# a comment' >/tmp/profile");
  for (const line of ["echo one", "nosuch", "", "echo two >/tmp/two"]) await run(`echo '${line}' >>/tmp/profile`);
  assert.deepEqual(await run.file("/tmp/profile"), { out: "one\n", err: "nosuch: no such command (try help)\n" });
  assert.equal((await run("cat /tmp/two")).out, "two\n");
  assert.deepEqual(await run.file("/tmp/none/profile"), { out: "", err: "" });
  await run("echo exit >/tmp/profile");
  await run("echo 'echo more' >>/tmp/profile");
  assert.deepEqual(await run.file("/tmp/profile"), { out: "", err: "" }, "what follows exit is not run");
});

Deno.test("what fails is told with the command and the file", async () => {
  const run = await shell();
  await run("echo text > /tmp/f");
  assert.equal((await run("mkdir /proc/x")).err, "mkdir: /proc/x: permission denied\n");
  assert.equal((await run("rm /proc/1/fd")).err, "rm: /proc/1/fd: permission denied\n");
  assert.equal((await run("echo x > /tmp/f/y")).err, "/tmp/f/y: not a directory\n");
  assert.equal((await run("cat /tmp")).err, "cat: /tmp: is a directory (try ls)\n");
  assert.equal((await run("cat '/tmp/no file'")).err, "cat: '/tmp/no file': file does not exist\n");
  assert.equal((await run("nosuch")).err, "nosuch: no such command (try help)\n");
  for (const line of ["ls -x", "ls -la /tmp", "rm -r /tmp", "mkdir -p /tmp/a", "cat -n /tmp/f"]) {
    assert.match((await run(line)).err, /^usage: /, line);
  }
  assert.equal((await run("bind /tmp")).err, "usage: bind [-abc] new old\n");
});

Deno.test("a copy without an end leaves others their turn, and is interrupted", async () => {
  const { init } = await bootKernel({ plugins: { ram, dev }, root: ["dev/"], binds: { "/dev": "#dev" } });
  for (const _ of [0, 1, 2]) await init.open("/dev/null", ORDWR);
  const sh = new Shell(init), copied = sh.runLine("cat /dev/zero > /dev/null\n");
  await turn();
  assert.ok(sh.interrupt());
  await copied;
  assert.ok(!sh.interrupt(), "nothing runs any more");
});

Deno.test("ps has a line a proc, with its number", async () => {
  const run = await shell();
  assert.match((await run("ps")).out, /^glenda +1 +0s (Waiting|Running) +\S+\n$/);
});
