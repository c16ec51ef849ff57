import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Err } from "../err.ts";
import { IMAGE_SCHEMA, parseImage } from "./image.ts";
import { levels, startOrder } from "./levels.ts";
import { checkOptions, MANIFEST_SCHEMA, parseManifest } from "./manifest.ts";

const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (thrown) {
    assert(thrown instanceof Err && thrown.code === "EINVAL", String(thrown));
    return thrown.message;
  }
  throw new Error("was not refused");
};
const manifest = (keys: object) => JSON.stringify({ name: "x", version: "1.0.0", api: 1, ...keys }, null, 2);
const parse = (keys: object) => parseManifest(manifest(keys), "plugin.json");

Deno.test("a manifest gets every default", () => {
  assert.deepEqual(parse({}), {
    name: "x",
    version: "1.0.0",
    api: 1,
    description: "",
    serves: [],
    needs: [],
    level: 0,
    placement: "isolate",
    permissions: {},
    cores: "shared",
    restart: { mode: "permanent", intensity: [5, 30] },
    shutdownMs: 2000,
    limits: { heapMb: 128, memoryMb: 384, inFlight: 1024, spin: 1000 },
    options: {},
  });
});

Deno.test("what a manifest says is kept, its short forms written out", () => {
  const made = parse({
    $schema: "../../core/plugin/plugin.schema.json",
    serves: "/dev/x",
    needs: ["/net", "#ram"],
    placement: "inline",
    permissions: { net: true, read: ["/etc"], kernel: true },
    cores: 2,
    restart: "temporary",
    limits: { heapMb: 64 },
  });
  assert.deepEqual(made.serves, ["/dev/x"]);
  assert.deepEqual(made.permissions, { net: true, read: ["/etc"], kernel: true });
  assert.deepEqual(made.restart, { mode: "temporary", intensity: [5, 30] });
  assert.deepEqual(made.limits, { heapMb: 64, memoryMb: 384, inFlight: 1024, spin: 1000 });
  assert.equal(made.cores, 2);
  assert(!("$schema" in made));
  assert.deepEqual(parse({ restart: { mode: "transient" } }).restart, { mode: "transient", intensity: [5, 30] });
});

Deno.test("an unknown or wrong key of a manifest is refused with its file, line and column", () => {
  const wrong: [object, string][] = [
    [{ leval: 1 }, 'plugin.json:5:3: unknown key "leval" (did you mean "level"?)'],
    [{ level: 1.5 }, "plugin.json:5:12: level has to be an integer from 0 to 99, not 1.5"],
    [{ api: 2 }, "plugin.json:4:10: api is 2, and has to be 1"],
    [
      { name: "X y" },
      'plugin.json:2:11: name cannot be "X y": a name is lower-case letters, digits, - and _, at most 32, a letter first',
    ],
    [
      { placement: "moon" },
      'plugin.json:5:16: placement is "moon", and has to be one of "inline", "isolate", "process"',
    ],
    [{ needs: ["net"] }, 'plugin.json:6:5: needs[0] cannot be "net": a path begins with / or #'],
    [
      { permissions: { disk: true } },
      'plugin.json:6:5: unknown key "disk" in permissions (known: net, read, write, env, run, ffi, sys, kernel, files, optional)',
    ],
    [
      { permissions: { net: "all" } },
      'plugin.json:6:12: permissions.net has to be true or an array of strings, not "all"',
    ],
    [
      { permissions: { kernel: true } },
      "plugin.json:6:5: the kernel is for inline plugins, and this one's placement is isolate",
    ],
    [{ cores: 0 }, 'plugin.json:5:12: cores has to be "shared" or an integer from 1 to 1024 or an object, not 0'],
    [{ restart: { intensity: [1] } }, "plugin.json:6:18: restart.intensity has 1 entries, wanted 2"],
    [{ limits: { heapMb: 1 } }, "plugin.json:6:15: limits.heapMb is 1, and has to be an integer from 8 to 65536"],
    [
      { options: { type: "object", minimal: 1 } },
      'plugin.json:7:5: unknown key "minimal" in options (did you mean "minimum"?)',
    ],
    [
      { options: { properties: { n: { type: "integer", default: "one" } } } },
      'plugin.json:9:20: the default is not what the option takes: "one"',
    ],
  ];
  assert.match(refusal(() => parse({ options: { properties: { n: { pattern: "(" } } } })), /not a regular expression/);
  for (const [keys, message] of wrong) assert.equal(refusal(() => parse(keys)), message);
  assert.equal(refusal(() => parseManifest('{\n "name": "x"\n}', "p")), "p:1:1: version is missing");
  assert.equal(refusal(() => parseManifest("[]", "p")), "p:1:1: it has to be an object, not []");
});

Deno.test("checkOptions() fills defaults, and refuses what the manifest does not know by its path", () => {
  const made = parse({
    options: {
      required: ["path"],
      properties: {
        path: { type: "string" },
        size: { type: "integer", minimum: 1, maximum: 9, default: 4 },
        mode: { enum: ["ro", "rw"], default: "ro" },
        cache: { type: "object", default: {}, properties: { mb: { type: "integer", default: 16 } } },
        tags: { type: "array", items: { type: "string" } },
      },
    },
  });
  assert.deepEqual(checkOptions(made, { path: "/x" }), { path: "/x", size: 4, mode: "ro", cache: { mb: 16 } });
  assert.deepEqual(checkOptions(made, { path: "", tags: ["a"], cache: { mb: 1 } }).cache, { mb: 1 });
  assert.equal(refusal(() => checkOptions(made, {})), "x: options: path is missing");
  assert.equal(
    refusal(() => checkOptions(made, { path: "", szie: 1 })),
    'x: options: unknown key "szie" (did you mean "size"?)',
  );
  assert.equal(
    refusal(() => checkOptions(made, { path: "", size: 10 })),
    "x: options: size is 10, and has to be an integer from 1 to 9",
  );
  assert.equal(
    refusal(() => checkOptions(made, { path: "", tags: ["a", 1] })),
    "x: options: tags[1] has to be a string, not 1",
  );
  assert.match(refusal(() => checkOptions(made, { path: "", cache: { gb: 1 } })), /unknown key "gb" in cache/);
  assert.match(refusal(() => checkOptions(parse({}), { any: 1 })), /unknown key "any"/);
  assert.match(refusal(() => checkOptions(made, JSON.parse('{"path":"","__proto__":1}'))), /unknown key "__proto__"/);
});

Deno.test("levels() puts each plugin above what it needs, and startOrder() starts those first", () => {
  const plugin = (name: string, serves: string[], needs: string[], level = 0) => ({ name, serves, needs, level });
  const all = [
    plugin("http", ["/srv/http"], ["/net/tcp/clone"]),
    plugin("ip", ["/net/tcp", "/net/ipifc"], ["/net/ether0", "/dev/random"]),
    plugin("ether", ["/net/ether0"], ["/hw"], 2),
    plugin("net", ["/net"], []),
  ];
  assert.deepEqual(Object.fromEntries(levels(all, ["/dev", "/hw"])), { net: 0, ether: 2, ip: 3, http: 4 });
  assert.deepEqual(startOrder(all, ["/dev", "/hw"]).map((p) => p.name), ["net", "ether", "ip", "http"]);
  assert.equal(refusal(() => levels(all, ["/dev"])), "ether needs /hw, which no plugin serves");
  assert.equal(refusal(() => levels([plugin("a", ["/netx"], ["/net"])])), "a needs /net, which no plugin serves");
  assert.equal(
    refusal(() => levels([plugin("root", ["/"], []), plugin("a", [], ["/", "/net"])], ["/"])),
    "a needs /net, which no plugin serves",
  );
});

Deno.test("needs that form a cycle are refused by naming it", () => {
  const a = { name: "a", serves: ["/a"], needs: ["/b/x"], level: 0 };
  const b = { name: "b", serves: ["/b"], needs: ["/c"], level: 0 };
  const c = { name: "c", serves: ["/c"], needs: ["/a"], level: 0 };
  const top = { name: "top", serves: [], needs: ["/a"], level: 0 };
  assert.equal(
    refusal(() => levels([top, a, b, c])),
    "needs form a cycle: a needs /b/x, of b needs /c, of c needs /a, of a",
  );
  assert.equal(refusal(() => levels([{ ...a, needs: ["/a"] }])), "needs form a cycle: a needs /a, of a");
});

Deno.test("an image gets its defaults, and is refused with line and column as a manifest is", () => {
  const image = parseImage('{"name":"d","plugins":[{"plugin":"ram"},{"plugin":"./my/Own","as":"own","cpu":1}]}', "i");
  assert.deepEqual(image, {
    name: "d",
    description: "",
    plugins: [{ plugin: "ram", as: "ram", options: {} }, { plugin: "./my/Own", as: "own", cpu: 1, options: {} }],
    namespace: "namespace",
    listen: [],
  });
  const text = (plugins: string) => `{"name":"d",\n"plugins":[\n${plugins}]}`;
  assert.equal(
    refusal(() => parseImage(text('{"plugin":"ram"},\n{"plugin":"ram"}'), "i")),
    'i:4:1: two plugins are called ram: give one of them another name with "as"',
  );
  assert.equal(
    refusal(() => parseImage(text('{"plugin":"ram","placment":"inline"}'), "i")),
    'i:3:17: unknown key "placment" in plugins[0] (did you mean "placement"?)',
  );
  assert.match(
    refusal(() => parseImage(text('{"plugin":"Ram"}'), "i")),
    /^i:3:11: plugins\[0\].plugin cannot be "Ram"/,
  );
});

Deno.test("the schemas that editors read are the ones that are checked", () => {
  const text = (name: string) => JSON.parse(readFileSync(new URL(name, import.meta.url), "utf8"));
  assert.deepEqual(text("plugin.schema.json"), MANIFEST_SCHEMA, "write it anew: deno run -A tools/schemas.ts");
  assert.deepEqual(text("image.schema.json"), IMAGE_SCHEMA, "write it anew: deno run -A tools/schemas.ts");
});
