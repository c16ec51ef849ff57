import assert from "node:assert/strict";
import plugin, { importFault, layerOf, resolveImport } from "./lint.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const HEAD = "/** What it is. */\n";
/** The rules that a source breaks when it stands at `path`. */
const broken = (path: string, source: string, head = HEAD) =>
  Deno.lint.runPlugin(plugin, ROOT + path, head + source).map((fault) => fault.id.replace("ring/", ""));

Deno.test("imports within the layer rules are let through, and those outside are not", () => {
  const may: [string, string][] = [
    ["core/ns.ts", "core/err.ts"],
    ["core/host/main.ts", "core/ns.ts"],
    ["core/p9/mod.ts", "core/host/transports.ts"],
    ["net/tcp.ts", "net/ip.ts"],
    ["net/tcp.ts", "core/err.ts"],
    ["fs/ext2/dir.ts", "core/p9/types.ts"],
    ["devices/tap.ts", "core/dev.ts"],
    ["plugins/ip/mod.ts", "net/tcp.ts"],
    ["plugins/ip/mod.ts", "plugins/ip/dial.ts"],
    ["plugins/blk/mod.ts", "devices/blkfile.ts"],
    ["plugins/ram/mod_test.ts", "tests/skip.ts"],
    ["tests/linux_test.ts", "plugins/ram/mod.ts"],
    ["mod.ts", "core/host/transports.ts"],
    ["mod.ts", "cmd/boot.ts"],
    ["cmd/boot.ts", "core/host/warden.ts"],
    ["examples/todo/mod.ts", "examples/todo/store.ts"],
    ["examples/todo/mod.ts", "core/plugin/author.ts"],
    ["programs/bin/hget.ts", "programs/lib/http.ts"],
    ["programs/bin/hget.ts", "net/dial/mod.ts"],
  ];
  const mayNot: [string, string, RegExp][] = [
    ["core/ns.ts", "core/host/time.ts", /as an argument/],
    ["core/ns.ts", "plugins/ram/mod.ts", /core imports only core/],
    ["core/ns.ts", "net/ip.ts", /core imports only core/],
    ["core/ns.ts", "mod.ts", /core imports only core/],
    ["net/tcp.ts", "fs/ram.ts", /net imports itself/],
    ["net/tcp.ts", "core/dev.ts", /leaves of the core/],
    ["fs/ext2/dir.ts", "devices/blkfile.ts", /fs imports itself/],
    ["devices/tap.ts", "net/ip.ts", /devices import only core/],
    ["plugins/ip/mod.ts", "plugins/ether/mod.ts", /no plugin imports another/],
    ["plugins/ip/mod.ts", "mod.ts", /ring9\/plugin/],
    ["plugins/ip/mod.ts", "tests/skip.ts", /nothing imports tests/],
    ["core/ns.ts", "core/ns_test.ts", /is a test/],
    ["cmd/boot.ts", "tests/skip.ts", /nothing imports tests/],
    ["core/ns.ts", "cmd/boot.ts", /nothing imports cmd/],
    ["mod.ts", "cmd/sh.ts", /nothing imports cmd/],
    ["programs/bin/hget.ts", "net/addr.ts", /a program imports "ring9\/proc"/],
    ["cmd/sh.ts", "programs/bin/cat.ts", /nothing imports programs/],
    ["examples/todo/mod.ts", "core/tree.ts", /import "ring9\/plugin"/],
    ["examples/todo/mod.ts", "examples/chat/mod.ts", /no plugin imports another/],
  ];
  for (const [from, to] of may) assert.equal(importFault(from, to), undefined, `${from} -> ${to}`);
  for (const [from, to, why] of mayNot) assert.match(importFault(from, to) ?? "", why, `${from} -> ${to}`);
});

Deno.test("every form of import is seen", () => {
  for (
    const source of [
      'import { x } from "../plugins/ram/mod.ts"; x;',
      'import type { X } from "../plugins/ram/mod.ts"; export type Y = X;',
      'export { x } from "../plugins/ram/mod.ts";',
      'export * from "../plugins/ram/mod.ts";',
      'await import("../plugins/ram/mod.ts");',
      'import "npm:left-pad";',
      'import { readFileSync } from "node:fs"; readFileSync;',
      'import { boot } from "ring9"; boot;',
    ]
  ) assert.deepEqual(broken("core/x.ts", source), ["layers"], source);
  assert.deepEqual(broken("core/host/x.ts", 'import "node:fs";'), []);
  assert.deepEqual(broken("core/x_test.ts", 'import "node:fs";'), []);
});

Deno.test("the host, time and chance are named in core/host, devices and tests alone", () => {
  for (
    const source of [
      "Deno.pid;",
      "Date.now();",
      "new Date();",
      "performance.now();",
      "Math.random();",
      "setTimeout(() => {}, 1);",
      "globalThis.setTimeout(() => {}, 1);",
      'fetch("x");',
      'new Worker("x");',
      "crypto.getRandomValues(new Uint8Array(1));",
    ]
  ) {
    for (const path of ["core/x.ts", "net/x.ts", "fs/x.ts", "plugins/x/mod.ts", "examples/x/mod.ts"]) {
      assert.deepEqual(broken(path, source), ["host"], `${path}: ${source}`);
    }
    for (
      const path of [
        "core/host/x.ts",
        "devices/x.ts",
        "cmd/x.ts",
        "tests/x.ts",
        "net/x_test.ts",
        "tools/x.ts",
        "bench/x.ts",
      ]
    ) {
      assert.deepEqual(broken(path, source), [], `${path}: ${source}`);
    }
  }
  assert.deepEqual(broken("programs/x.ts", "setTimeout(() => {}, performance.now() + Date.now());"), []);
  assert.deepEqual(broken("programs/x.ts", "Deno.pid;"), ["host"]);
  for (
    const harmless of [
      "new Date(0);",
      "Math.max(1, 2);",
      "queueMicrotask(() => {});",
      "ctx.fetch();",
      "x.Deno;",
      "Date.UTC(1);",
    ]
  ) {
    assert.deepEqual(broken("core/x.ts", harmless), [], harmless);
  }
});

Deno.test("a file opens with a doc comment and has 600 lines at most", () => {
  assert.deepEqual(broken("core/x.ts", "export const x = 1;", ""), ["header"]);
  assert.deepEqual(broken("core/x.ts", "export const x = 1;", "// a note\n"), ["header"]);
  assert.deepEqual(
    broken("core/x.ts", "export const x = 1;", "// deno-lint-ignore-file no-console -- a program\n" + HEAD),
    [],
  );
  assert.deepEqual(broken("tools/x.ts", "export const x = 1;", "#!/usr/bin/env deno\n" + HEAD), []);
  assert.deepEqual(broken("core/x_test.ts", "export const x = 1;", ""), []);
  assert.deepEqual(broken("core/x.ts", "0;\n".repeat(599)), []);
  assert.deepEqual(broken("core/x.ts", "0;\n".repeat(600)), ["length"]);
});

Deno.test("paths and layers are read off the names", () => {
  assert.equal(resolveImport("plugins/ip/mod.ts", "../../core/err.ts"), "core/err.ts");
  assert.equal(resolveImport("mod.ts", "./core/err.ts"), "core/err.ts");
  assert.equal(resolveImport("core/x.ts", "deno-9p"), "core/p9/mod.ts");
  assert.equal(resolveImport("core/x.ts", "../../elsewhere.ts"), "../elsewhere.ts");
  assert.equal(layerOf("../elsewhere.ts"), undefined);
  assert.equal(layerOf("core/host/time.ts"), "core/host");
  assert.equal(layerOf("bench/ninep_bench.ts"), "tests");
});
