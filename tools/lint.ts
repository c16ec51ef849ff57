/**
 * The project's own lint rules: who may import whom, what may name the host, and how a file begins.
 *
 * Layer: tools; `deno lint` loads it (deno.json, "lint.plugins"). It is docs/architecture put into code: each message
 * says what to do instead. It sees names as they are written, not what they are bound to; a rule is switched off for a
 * line, with its reason, by `deno-lint-ignore ring/layers -- why`.
 */

const ROOT = new URL("../", import.meta.url).pathname;

/** What the import map calls files of this project. */
const ALIASES: Record<string, string> = {
  "ring9": "mod.ts",
  "ring9/plugin": "core/plugin/author.ts",
  "ring9/proc": "core/proc_author.ts",
  "ring9/net": "net/dial/mod.ts",
  "ring9/testing": "core/plugin/testing.ts",
  "deno-9p": "core/p9/mod.ts",
};

/** Files of the core that net and fs may import. */
const LEAVES = [
  "core/err.ts",
  "core/checksum.ts",
  "core/clock.ts",
  "core/link.ts",
  "core/assert.ts",
  "core/block.ts",
  "core/p9/types.ts",
  "core/p9/utf8.ts",
  "core/wasm_memory.ts",
];

/** Front doors inside the core: they re-export what belongs together, core/host's part too. */
const DOORS = [ALIASES["deno-9p"]];

/** What a program imports besides its neighbours: it is served from the name space, and knows no other path. */
const PROGRAM_DOORS = [ALIASES["ring9/proc"], ALIASES["ring9/net"], ALIASES["deno-9p"]];

/** The one program that the front door hands out: to boot is what a library's user wants, too. */
const BOOT = "cmd/boot.ts";

/** Folders that nothing imports at run time. */
const OUTSIDE = ["bench", "cmd", "docs", "examples", "images", "programs", "tests", "tools"];

/** What only core/host, devices and the programs of cmd may name: time, chance and I/O come in as arguments everywhere else. */
const HOST_GLOBALS: Record<string, string> = {
  Deno: "the host is core/host's and devices' alone: take what you need as an argument",
  process: "the host is core/host's and devices' alone: take what you need as an argument",
  fetch: "I/O comes in as an argument",
  WebSocket: "I/O comes in as an argument",
  Worker: "isolates are started by core/host",
  setTimeout: "time comes in as an argument: use clock.after()",
  setInterval: "time comes in as an argument: use clock.after() again in its function",
  setImmediate: "a turn of the loop belongs to core/host: use queueMicrotask() or take it as an argument",
  clearTimeout: "clock.after() answers how to cancel it",
  clearInterval: "clock.after() answers how to cancel it",
  performance: "time comes in as an argument: use clock.monotonic()",
  crypto: "chance comes in as an argument: use ctx.random()",
};

/** The same for a method of something that is harmless otherwise. */
const HOST_METHODS: Record<string, string> = {
  "Date.now": "time comes in as an argument: use clock.now()",
  "Math.random": "chance comes in as an argument: use ctx.random()",
};

/** Those that a program has in its isolate: it is where time and chance come in. */
const PROGRAM_GLOBALS = ["setTimeout", "clearTimeout", "performance", "crypto", "Date.now", "Math.random"];

/** Lines of a file at the most. */
const MAX_LINES = 600;

/** Where a file stands: `core`, `core/host`, `plugins/ram`, `tests`; undefined when it is none of this project's. */
export function layerOf(path: string): string | undefined {
  const parts = path.split("/");
  if (path.startsWith("..") || path.startsWith("/")) return undefined;
  if (isTest(path)) return "tests";
  if (parts.length === 1) return "front";
  if (parts[0] === "plugins" || parts[0] === "examples") return parts.slice(0, 2).join("/");
  if (parts[0] === "core" && parts[1] === "host") return "core/host";
  return parts[0];
}

/** Why `from` may not import `to` (both paths from the root), or undefined when it may. */
export function importFault(from: string, to: string): string | undefined {
  const layer = layerOf(from), target = layerOf(to);
  if (layer === undefined || target === undefined || layer === target) return undefined;
  const [top] = layer.split("/"), [targetTop] = target.split("/");
  if (["tests", "tools", "bench", "images"].includes(top)) return undefined;
  if (isTest(to)) return `${to} is a test: move what you need into a file of its own`;
  if (OUTSIDE.includes(targetTop) && targetTop !== top && !(top === "front" && to === BOOT)) {
    return `nothing imports ${targetTop}/ at run time: move what you need into a layer`;
  }
  switch (top) {
    case "front":
    case "cmd":
      return undefined;
    case "core":
      if (layer === "core" && target === "core/host" && !DOORS.includes(from)) {
        return "core/host is the only folder that names the host: take what it makes as an argument";
      }
      return targetTop === "core" ? undefined : `core imports only core: ${to} has to come in as an argument`;
    case "net":
    case "fs":
      return LEAVES.includes(to) ? undefined : `${top} imports itself and leaves of the core (${LEAVES.join(", ")})`;
    case "devices":
      return targetTop === "core" ? undefined : "devices import only core";
    case "plugins":
      if (targetTop === "plugins") return "no plugin imports another: they meet in the name space";
      return targetTop === "front" ? `plugins import "ring9/plugin" or core, not ${to}` : undefined;
    case "programs":
      return PROGRAM_DOORS.includes(to) ? undefined : 'a program imports "ring9/proc", "ring9/net" and its neighbours';
    case "examples":
      if (targetTop === "examples") return "no plugin imports another: they meet in the name space";
      return to === ALIASES["ring9/plugin"] ? undefined : 'an example is what a user writes: import "ring9/plugin"';
    default:
      return undefined;
  }
}

/** Whether a file may name the host: Deno, node:, timers, randomness. */
function mayNameHost(path: string): boolean {
  const layer = layerOf(path);
  return layer === undefined || ["core/host", "devices", "cmd", "tests", "tools", "bench", "images"].includes(layer);
}

/** The path from the root that an import names; undefined for a file that is not of this project. */
export function resolveImport(from: string, specifier: string): string | undefined {
  if (Object.hasOwn(ALIASES, specifier)) return ALIASES[specifier];
  if (!/^\.\.?\//.test(specifier)) return undefined;
  const out = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") {
      if (out.length === 0 || out.at(-1) === "..") out.push("..");
      else out.pop();
    } else if (part !== ".") out.push(part);
  }
  return out.join("/");
}

function isTest(path: string): boolean {
  return /(^|[/_])(test|bench|fixture)\.ts$/.test(path);
}

function pathOf(context: Deno.lint.RuleContext): string {
  return context.filename.startsWith(ROOT) ? context.filename.slice(ROOT.length) : `/${context.filename}`;
}

const layers: Deno.lint.Rule = {
  create(context) {
    const from = pathOf(context);
    const look = (source: Deno.lint.Node | null | undefined) => {
      if (source?.type !== "Literal" || typeof source.value !== "string") return;
      const fault = specifierFault(from, source.value);
      if (fault) context.report({ node: source, message: `${from} imports ${source.value}: ${fault}` });
    };
    return {
      ImportDeclaration: (node) => look(node.source),
      ExportNamedDeclaration: (node) => look(node.source),
      ExportAllDeclaration: (node) => look(node.source),
      ImportExpression: (node) => look(node.source),
    };
  },
};

function specifierFault(from: string, specifier: string): string | undefined {
  if (specifier.startsWith("node:")) {
    return mayNameHost(from)
      ? undefined
      : "the host is core/host's and devices' alone: take what you need as an argument";
  }
  const to = resolveImport(from, specifier);
  if (to !== undefined) return importFault(from, to);
  const layer = layerOf(from)?.split("/")[0];
  if (layer === undefined || !["core", "net", "fs", "devices"].includes(layer)) return undefined;
  return `${layer} has no dependency but Deno: write it, or move what needs it into a plugin`;
}

const host: Deno.lint.Rule = {
  create(context) {
    const path = pathOf(context), own = layerOf(path) === "programs" ? PROGRAM_GLOBALS : [];
    if (mayNameHost(path)) return {};
    const report = (node: Deno.lint.Node, name: string, why: string) =>
      context.report({ node, message: `${name}: ${why}` });
    const global = (node: Deno.lint.Node) => {
      if (node.type === "Identifier" && Object.hasOwn(HOST_GLOBALS, node.name) && !own.includes(node.name)) {
        report(node, node.name, HOST_GLOBALS[node.name]);
      }
    };
    return {
      CallExpression: (node) => global(node.callee),
      NewExpression(node) {
        global(node.callee);
        if (node.callee.type === "Identifier" && node.callee.name === "Date" && node.arguments.length === 0) {
          report(node, "new Date()", HOST_METHODS["Date.now"]);
        }
      },
      MemberExpression(node) {
        if (node.object.type !== "Identifier" || node.property.type !== "Identifier" || node.computed) return;
        const name = `${node.object.name}.${node.property.name}`;
        if (own.includes(name)) return;
        if (Object.hasOwn(HOST_METHODS, name)) report(node, name, HOST_METHODS[name]);
        else if (node.object.name !== "globalThis") global(node.object);
        else global(node.property);
      },
    };
  },
};

const header: Deno.lint.Rule = {
  create(context) {
    return {
      Program(node) {
        const text = context.sourceCode.text.replace(/^#!.*\n/, "").replace(/^\s*\/\/ deno-lint-ignore-file.*\n/, "");
        if (layerOf(pathOf(context)) === "tests" || /^\s*\/\*\*/.test(text)) return;
        const message = "a file opens with a doc comment: what it is, its layer and neighbours, what holds always";
        context.report({ range: [node.range[0], node.range[0] + 1], message });
      },
    };
  },
};

const length: Deno.lint.Rule = {
  create(context) {
    return {
      Program(node) {
        const count = context.sourceCode.text.trimEnd().split("\n").length;
        if (count <= MAX_LINES) return;
        const message =
          `${count} lines: a file is something a person reads in one sitting, ${MAX_LINES} at most. Split it`;
        context.report({ range: [node.range[0], node.range[0] + 1], message });
      },
    };
  },
};

const plugin: Deno.lint.Plugin = { name: "ring", rules: { layers, host, header, length } };
export default plugin;
