/** The programs' parts that need no network: flags, HTTP, telnet, captures, packets; and that each program has its manual page. */

import assert from "node:assert/strict";
import { ByteReader } from "./lib/bytes.ts";
import { readBody, readResponse } from "./lib/http.ts";
import { rangeOf } from "./lib/http_answer.ts";
import { listing } from "./lib/http_listing.ts";
import { parseRequest } from "./lib/http_request.ts";
import { typeOf } from "./lib/http_types.ts";
import { describe } from "./lib/packet.ts";
import { readPcap } from "./lib/pcap.ts";
import { Telnet } from "./lib/telnet.ts";
import { parseFlags, sizeOf } from "./lib/tool.ts";

const BIN = new URL("bin/", import.meta.url);

/** A reader of a text that comes in pieces of so many bytes. */
function reader(text: string | Uint8Array, pieceBytes = 7): ByteReader {
  let rest = typeof text === "string" ? new TextEncoder().encode(text) : text;
  return new ByteReader({
    read: (into) => {
      const count = Math.min(pieceBytes, rest.length, into.length);
      into.set(rest.subarray(0, count));
      rest = rest.subarray(count);
      return Promise.resolve(count);
    },
  });
}

async function bodyOf(text: string): Promise<string> {
  const from = reader(text), response = await readResponse(from), parts: string[] = [];
  for await (const part of readBody(from, response)) parts.push(new TextDecoder().decode(part));
  return parts.join("");
}

Deno.test("bin has programs only, and each has a manual page that begins with its name and its usage", async () => {
  for await (const { name, isFile } of Deno.readDir(BIN)) {
    const [, program] = /^(\w+)\.ts$/.exec(name) ?? [];
    assert.ok(isFile && program && !program.endsWith("_test"), `${name} is no program`);
    const page = await Deno.readTextFile(new URL(`lib/man/${program}.md`, import.meta.url));
    const usage = /usage:\s*"([^"]*)"/.exec(await Deno.readTextFile(new URL(name, BIN)))![1];
    assert.ok(page.startsWith(`# ${program}: `), program);
    assert.ok(page.includes(usage.split("\\n")[0]), `${program}: the page says another usage than the program`);
  }
});

Deno.test("flags: alone, together, with words, ended by -- and by the first word that is none", () => {
  const parse = (line: string) => {
    const { flags, words } = parseFlags(line.split(" "), "6qn:w:");
    return [Object.fromEntries(flags), words];
  };
  assert.deepEqual(parse("-6q -n 5 host -q"), [{ 6: "", q: "", n: "5" }, ["host", "-q"]]);
  assert.deepEqual(parse("-qn5 -- -w"), [{ q: "", n: "5" }, ["-w"]]);
  for (const wrong of ["-z", "-n", "-:"]) assert.throws(() => parse(wrong), wrong);
  assert.deepEqual(["64", "1.5k", "2M", "1g", "x", "1t", ""].map(sizeOf), [
    64,
    1536,
    2 ** 21,
    2 ** 30,
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("HTTP: bodies by length, in chunks, to the end; what ends too early or makes no sense is an error", async () => {
  const ok = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n";
  assert.equal(await bodyOf(`${ok}Content-Length: 5\r\n\r\nhello and more`), "hello");
  assert.equal(
    await bodyOf(`${ok}Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\nA\r\nlo, world!\r\n0\r\nX: y\r\n\r\n`),
    "hello, world!",
  );
  assert.equal(await bodyOf(`HTTP/1.0 200 OK\n\nto the end`), "to the end");
  const wrong = [
    "",
    "SSH-2.0-x\r\n",
    `${ok}no field\r\n\r\n`,
    `${ok}Content-Length: 9\r\n\r\nhello`,
    `${ok}Content-Length: -1\r\n\r\n`,
    `${ok}Content-Length: 1, 2\r\n\r\nx`,
    `${ok}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n`,
    `${ok}X: ${"x".repeat(9000)}\r\n\r\n`,
    ok + "X: y\r\n".repeat(101) + "\r\n",
  ];
  for (const text of wrong) await assert.rejects(bodyOf(text), JSON.stringify(text.slice(0, 80)));
});

Deno.test("httpd's requests: paths are decoded and lead nowhere but down", async () => {
  const request = (target: string, rest = "Host: x\r\n") =>
    parseRequest(reader(`GET ${target} HTTP/1.1\r\n${rest}\r\n`));
  for (
    const [target, names] of [
      ["/", []],
      ["/a/b.txt", ["a", "b.txt"]],
      ["//a/./b/?q=../..", ["a", "b"]],
      ["/%C3%BC%20x", ["ü x"]],
      ["http://host/a", ["a"]],
      ["/...", ["..."]],
    ] as const
  ) assert.deepEqual((await request(target))!.names, names, target);
  for (const target of ["/..", "/a/../b", "/%2e%2E/x", "/a%2fb", "/a%00", "/%ff", "*", "a", "http://h/../x"]) {
    await assert.rejects(request(target), { code: "EINVAL" }, target);
  }
  await assert.rejects(request("/", ""), { code: "EPROTO" });
  assert.equal((await request("/", "Host: x\r\nConnection: close\r\n"))!.keeps, false);
  assert.equal((await request("/", "Host: x\r\nTransfer-Encoding: chunked\r\n"))!.keeps, false);
  assert.equal(await parseRequest(reader("")), null);
});

Deno.test("httpd: one range of bytes, types, and listings whose names are not believed", () => {
  const ranges = [
    "bytes=0-9",
    "bytes=90-",
    "bytes=-5",
    "bytes=95-200",
    "bytes=-0",
    "bytes=100-",
    "bytes=5-4",
    "bytes=0-1,3-4",
    "x",
  ];
  assert.deepEqual(ranges.map((text) => rangeOf(text, 100)), [
    { start: 0, end: 10 },
    { start: 90, end: 100 },
    { start: 95, end: 100 },
    { start: 95, end: 100 },
    null,
    null,
    undefined,
    undefined,
    undefined,
  ]);
  assert.equal(typeOf("/a/b.HTML"), "text/html; charset=utf-8");
  assert.equal(typeOf("/a.b/constructor"), "text/plain; charset=utf-8");
  assert.equal(typeOf("/a/x.constructor"), "application/octet-stream");
  const entry = { name: `<a href="x">&'/`, mode: 0, length: 1, mtime: 0 };
  const page = listing(["<b>"], [entry] as unknown as Parameters<typeof listing>[1]);
  assert.ok(!page.includes("<b>") && !page.includes(`<a href="x">`), page);
});

Deno.test("telnet: options are refused, commands left out, an escaped 255 and a carriage return kept", () => {
  const telnet = new Telnet(), said: number[] = [];
  const stream = [104, 255, 253, 1, 255, 251, 3, 255, 250, 24, 1, 255, 240, 105, 255, 255, 13, 0, 13, 10, 255, 241, 33];
  for (const byte of stream) said.push(...telnet.input(Uint8Array.of(byte)));
  assert.deepEqual(said, [104, 105, 255, 13, 13, 10, 33]);
  assert.deepEqual([...telnet.answers()], [255, 252, 1, 255, 254, 3]);
  assert.equal(telnet.answers().length, 0);
});

Deno.test("captures of both byte orders are read; what is none is refused", async () => {
  for (const little of [true, false]) {
    const bytes = new Uint8Array(24 + 16 + 3), view = new DataView(bytes.buffer);
    view.setUint32(0, 0xa1b2c3d4, little);
    view.setUint32(20, 101, little);
    view.setUint32(24, 7, little);
    view.setUint32(28, 500_000, little);
    view.setUint32(32, 3, little);
    bytes.set([1, 2, 3], 40);
    const parts = await Array.fromAsync(readPcap(reader(bytes)));
    assert.deepEqual(parts.flatMap(({ records }) => records.map(({ ms, frame }) => [ms, ...frame])), [[7500, 1, 2, 3]]);
    assert.equal(parts[0].linktype, 101);
    await assert.rejects(Array.fromAsync(readPcap(reader(bytes.subarray(0, 41)))), { code: "EPROTO" });
  }
  await assert.rejects(Array.fromAsync(readPcap(reader("this is no capture file"))), { code: "EPROTO" });
});

Deno.test("packets are told layer by layer, and cut or wrong ones only end the line", () => {
  const hex = (text: string) => Uint8Array.from(text.replaceAll(" ", "").match(/../g)!, (byte) => parseInt(byte, 16));
  const syn = hex(
    "02000000000102000000000208004500003c1c4640004006b1e60a0000010a000002" +
      "04d20050000000010000000 0a002faf0 0000 0000 020405b40402080a0000000a0000000001030307".replaceAll(" ", ""),
  );
  assert.equal(
    describe(syn, "ether"),
    "02:00:00:00:00:02 > 02:00:00:00:00:01 IP 10.0.0.1.1234 > 10.0.0.2.80 TCP S seq 1 win 64240 " +
      "<mss 1460,sackOK,ts 10:0,wscale 7> len 0",
  );
  const dns = hex(
    "4500003800010000401100000a0000010a000002 13880035 0024 0000" +
      "1267 0100 0001000000000000 03777777076578616d706c6500 0001 0001",
  );
  assert.match(describe(dns, "ip"), /^IP 10.0.0.1.5000 > 10.0.0.2.53 UDP len 28 DNS 4711 query A www.example$/);
  for (let length = 0; length < syn.length; length++) {
    assert.match(describe(syn.subarray(0, length), "ether"), /\[short\]|len 0$/);
  }
  let seed = 1;
  for (let i = 0; i < 3000; i++) {
    const noise = syn.map((byte) =>
      (seed = Math.imul(seed, 1664525) + 1013904223 | 0) & 0x7000000 ? byte : seed >>> 24
    );
    assert.ok(describe(noise, i & 1 ? "ether" : "ip").length <= 400);
  }
});
