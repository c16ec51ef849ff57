import assert from "node:assert/strict";
import { Req } from "../../core/dev.ts";
import { Kmesg } from "../../core/kmesg.ts";
import { type Ctx, OREAD, OWRITE, type User } from "../../core/plugin/author.ts";
import { Console, type ConsPort, MAX_INPUT_BYTES } from "./console.ts";
import plugin, { type ConsKernel } from "./mod.ts";

const glenda: User = { name: "glenda", uid: 1, gid: 1 };
const encode = (text: string) => new TextEncoder().encode(text),
  decode = (b: Uint8Array) => new TextDecoder().decode(b);

/** A terminal that a test types on. */
class Terminal implements ConsPort {
  shown = "";
  raw: boolean[] = [];
  listener: ((bytes: Uint8Array | null) => void) | undefined;
  /** Ends writes that take their time, when it is set. */
  slow: (() => void)[] | undefined;

  constructor(readonly edits: boolean) {}

  write(bytes: Uint8Array): void | Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const show = () => {
      this.shown += decode(bytes);
      resolve();
    };
    if (!this.slow) return show();
    this.slow.push(show);
    return promise;
  }

  onInput(listener: (bytes: Uint8Array | null) => void): void {
    this.listener = listener;
  }

  setRaw(raw: boolean): void {
    this.raw.push(raw);
  }

  type(text: string): void {
    this.listener?.(encode(text));
  }
}

/** A console on a terminal, with readers. */
class Fixture {
  readonly terminal: Terminal;
  readonly console: Console;
  readonly log: string[] = [];
  readonly notes: string[] = [];

  constructor(edits: boolean) {
    this.terminal = new Terminal(edits);
    this.console = new Console({
      port: this.terminal,
      log: (line) => this.log.push(line),
      onNote: (note) => this.notes.push(note),
    });
  }

  async read(count = 100, req = new Req(glenda)): Promise<string> {
    return decode(await this.console.read(count, req));
  }
}

for (const edits of [true, false]) {
  const kind = edits ? "a terminal that edits" : "one that does not";

  Deno.test(`${kind}: each typed line goes to one reader, in the order they came`, async () => {
    const f = new Fixture(edits);
    const readers = [f.read(), f.read(), f.read()];
    f.terminal.type("one\ntw");
    f.terminal.type("o\nthree\nfour\n");
    assert.deepEqual(await Promise.all(readers), ["one\n", "two\n", "three\n"]);
    assert.deepEqual([await f.read(2), await f.read()], ["fo", "ur\n"]);
  });

  Deno.test(`${kind}: a flushed read takes no line`, async () => {
    const f = new Fixture(edits), req = new Req(glenda), gone = f.read(9, req), next = f.read();
    req.flush();
    await assert.rejects(gone, { code: "EINTR" });
    f.terminal.type("line\n");
    assert.equal(await next, "line\n");
  });

  Deno.test(`${kind}: raw gives keys as they come, with what was typed of a line before`, async () => {
    const f = new Fixture(edits), first = f.read();
    f.terminal.type("par");
    f.console.setRaw(true);
    assert.equal(await first, "par");
    f.terminal.type("\x15");
    f.terminal.type("x\x03");
    assert.deepEqual([await f.read(), f.terminal.raw], ["\x15x\x03", [true]]);
    f.console.setRaw(false);
    f.terminal.type("line\n");
    assert.deepEqual([await f.read(), f.terminal.raw, f.notes], ["line\n", [true, false], []]);
  });

  Deno.test(`${kind}: held lines are given when the hold ends`, async () => {
    const f = new Fixture(edits), reader = f.read();
    f.console.setHold(true);
    f.terminal.type("one\ntwo\n");
    let got = "";
    reader.then((line) => got = line);
    await Promise.resolve();
    assert.equal(got, "");
    f.console.setHold(false);
    assert.deepEqual([await reader, await f.read()], ["one\n", "two\n"]);
  });

  Deno.test(`${kind}: when it goes, what is left is read, then the end, again and again`, async () => {
    const f = new Fixture(edits), first = f.read();
    f.terminal.type("a\nrest");
    f.terminal.listener!(null);
    assert.deepEqual([await first, await f.read(), await f.read(), await f.read()], ["a\n", "rest", "", ""]);
  });

  Deno.test(`${kind}: input that nobody reads is bounded`, async () => {
    const f = new Fixture(edits);
    f.console.setRaw(true);
    for (let i = 0; i < 100; i++) f.terminal.type("x".repeat(1024));
    assert.equal((await f.read(MAX_INPUT_BYTES * 2)).length, MAX_INPUT_BYTES);
    assert.ok(f.terminal.shown.includes("\x07"));
  });
}

Deno.test("a terminal that edits: a typed end of file is read once; echo is its own affair", async () => {
  const f = new Fixture(true), first = f.read(), second = f.read();
  f.terminal.type("");
  f.terminal.type("on\n");
  assert.deepEqual([await first, await second, f.terminal.shown], ["", "on\n", ""]);
});

Deno.test("the line discipline edits, echoes, sends and interrupts", async () => {
  const cases: [typed: string, read: string, shown: string][] = [
    ["abc\r", "abc\n", "abc\n"],
    ["abx\x7fc\n", "abc\n", "abx\b \bc\n"],
    ["\x08\x08a\n", "a\n", "a\n"],
    ["dé\x08e\n", "de\n", "dé\b \be\n"],
    ["ab\x15c\n", "c\n", "ab\b \b\b \bc\n"],
    ["a bc \x17d\n", "a d\n", "a bc \b \b\b \b\b \bd\n"],
    ["\x01\x7fa\n", "a\n", "^A\b \b\b \ba\n"],
    ["ab\x04", "ab", "ab"],
    ["\x04", "", ""],
    ["abc\x03d\n", "d\n", "abc^C\nd\n"],
    ["x".repeat(4096) + "\n", "x".repeat(4095) + "\n", "x".repeat(4095) + "\x07\n"],
  ];
  for (const [typed, read, shown] of cases) {
    const f = new Fixture(false), reader = f.read(5000);
    f.terminal.type(typed);
    assert.deepEqual([await reader, f.terminal.shown], [read, shown], JSON.stringify(typed));
    assert.deepEqual(f.notes, typed.includes("\x03") ? ["interrupt"] : []);
  }
});

Deno.test("writes are shown whole, in order, also when the terminal is slow or fails one of them", async () => {
  const f = new Fixture(true), { terminal } = f;
  f.console.write(encode("first "));
  assert.equal(terminal.shown, "first ");
  const slow: (() => void)[] = terminal.slow = [];
  const bytes = encode("second ");
  const second = f.console.write(bytes), third = f.console.write(encode("third"));
  bytes.fill(0);
  assert.equal(slow.length, 1);
  slow.shift()!();
  assert.equal(await second, 7);
  for (let turns = 0; slow.length < 1 && turns < 100; turns++) await Promise.resolve();
  slow.shift()!();
  assert.deepEqual([await third, terminal.shown], [5, "first second third"]);
  terminal.write = () => Promise.reject(new Error("hung up"));
  await assert.rejects(Promise.resolve(f.console.write(encode("x"))), /hung up/);
  terminal.write = Terminal.prototype.write;
  terminal.slow = undefined;
  await f.console.write(encode("!"));
  assert.equal(terminal.shown, "first second third!");
});

Deno.test("without a terminal lines go to the log and reads wait", async () => {
  const log: string[] = [], console = new Console({ port: null, log: (line) => log.push(line) });
  console.write(encode("one\ntw"));
  console.write(encode("o\n" + "x".repeat(5000)));
  assert.deepEqual(log, ["one", "two", "x".repeat(5000)]);
  const req = new Req(glenda), waiting = console.read(1, req);
  console.setRaw(true);
  req.flush();
  await assert.rejects(Promise.resolve(waiting), { code: "EINTR" });
});

/** The plugin, with a kernel of its own. */
class Served {
  readonly terminal = new Terminal(true);
  readonly kmesg: Kmesg;
  readonly log: string[] = [];
  readonly disposers: (() => void | Promise<void>)[] = [];
  readonly ctx: Ctx;

  constructor(kernel: Partial<ConsKernel> = {}) {
    const clock = { now: () => 0, monotonic: () => 0, after: () => () => {} };
    this.kmesg = new Kmesg(clock, 256);
    this.ctx = {
      name: "cons",
      options: { terminal: "none" },
      clock,
      hostowner: "glenda",
      sysname: "gnot",
      signal: new AbortController().signal,
      log: (text) => void this.log.push(text),
      random: () => {},
      defer: (dispose) => void this.disposers.push(dispose),
      kernel: { log: this.kmesg, terminal: this.terminal, ...kernel },
    };
  }

  async files() {
    const dev = await plugin.start(this.ctx, "fresh");
    return async (name: string, mode: number, user = glenda) => {
      const req = new Req(user), root = await dev.attach(user, "", req);
      const c = await dev.open((await dev.walk(root, [name], req)).chan!, mode, req);
      return {
        write: async (text: string) => await dev.write(c, encode(text), 0, req),
        close: async () => await dev.clunk(c),
        read: async (offset = 0, readReq = new Req(user), count = 1000) => {
          const dst = new Uint8Array(count), got = await dev.read(c, dst, offset, readReq);
          return decode(typeof got === "number" ? dst.subarray(0, got) : got);
        },
      };
    };
  }
}

Deno.test("consctl: raw mode holds until the last one is closed; an unknown request says which are known", async () => {
  const s = new Served(), open = await s.files();
  const first = await open("consctl", OWRITE), second = await open("consctl", OWRITE);
  await first.write("rawon\n");
  await first.close();
  assert.deepEqual(s.terminal.raw, [true]);
  await assert.rejects(second.write("rawish"), { code: "EINVAL", message: /rawon rawoff holdon holdoff/ });
  await second.write("holdon rawoff rawon");
  await second.close();
  assert.deepEqual(s.terminal.raw, [true, false, true, false]);
});

Deno.test("cons is the host owner's, read and written as files are", async () => {
  const s = new Served(), open = await s.files(), cons = await open("cons", OREAD), out = await open("cons", OWRITE);
  const line = cons.read();
  s.terminal.type("typed\n");
  assert.equal(await line, "typed\n");
  assert.equal(await out.write("shown\n"), 6);
  assert.equal(s.terminal.shown, "shown\n");
  await assert.rejects(open("cons", OREAD, { name: "ken", uid: 2, gid: 2 }), { code: "EACCES" });
});

Deno.test("unloading gives the terminal back, and who waits reads the end", async () => {
  const s = new Served(), open = await s.files(), cons = await open("cons", OREAD), ctl = await open("consctl", OWRITE);
  await ctl.write("rawon");
  const waiting = cons.read();
  for (const dispose of s.disposers) await dispose();
  assert.deepEqual([await waiting, s.terminal.raw], ["", [true, false]]);
});

Deno.test("kmesg has the messages that are kept, and skips those that went while it was read", async () => {
  const s = new Served(), open = await s.files();
  for (const text of ["one", "two"]) s.kmesg.print(text);
  const kmesg = await open("kmesg", OREAD), all = await kmesg.read();
  assert.match(all, /^\[ *0\.0+\] one\n\[ *0\.0+\] two\n$/);
  assert.equal(await kmesg.read(all.length), "");
  for (let i = 0; i < 20; i++) s.kmesg.print(`message ${i}`);
  const rest = await kmesg.read(all.length, undefined, 40), more = await kmesg.read(all.length + rest.length);
  assert.ok(!rest.includes("one"));
  assert.match(rest + more, /^\[ *0\.0+\] message \d+\n(\[.*\n)*\[ *0\.0+\] message 19\n$/);
  assert.equal(await kmesg.read(all.length + rest.length + more.length), "");
});

Deno.test("kprint waits for new messages, and a flush ends the wait", async () => {
  const s = new Served(), open = await s.files();
  s.kmesg.print("old");
  const kprint = await open("kprint", OREAD), waiting = kprint.read();
  s.kmesg.print("new");
  assert.match(await waiting, /\] new\n$/);
  const req = new Req(glenda), flushed = kprint.read(0, req);
  req.flush();
  await assert.rejects(flushed, { code: "EINTR" });
});

Deno.test("without a kernel there are cons and consctl alone, and no terminal when none is asked for", async () => {
  const s = new Served(), ctx: Ctx = { ...s.ctx, kernel: undefined };
  const dev = await plugin.start(ctx, "fresh"), req = new Req(glenda), root = await dev.attach(glenda, "", req);
  await dev.open(root, OREAD, req);
  const names = (await dev.readdir(root, 0, 1000, false, req)).map((entry) => entry.dir.name);
  assert.deepEqual(names.toSorted(), ["cons", "consctl"]);
  const cons = await dev.open((await dev.walk(root, ["..", "cons"], req)).chan!, OWRITE, req);
  await dev.write(cons, encode("to the log\n"), 0, req);
  assert.deepEqual(s.log, ["to the log"]);
});
