/**
 * A strict reader of OpenMetrics text, for tests: what the specification forbids is an error with its line.
 *
 * Layer: tests. It checks the grammar of lines, the order of metadata, that families stand in one piece, suffixes by type,
 * duplicate samples, buckets that grow and end with +Inf, and the `# EOF` at the end. OpenMetrics 1.0, "Text format".
 */

/** A sample: name, labels and value as they stand. */
export interface MetricSample {
  readonly name: string;
  readonly labels: Record<string, string>;
  readonly value: number;
}

const TYPES = ["counter", "gauge", "info", "histogram", "unknown", "stateset", "summary", "gaugehistogram"];
const SUFFIXES: Record<string, string[]> = {
  counter: ["_total", "_created"],
  gauge: [""],
  info: ["_info"],
  histogram: ["_bucket", "_count", "_sum", "_created"],
};
const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*", LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"';
const SAMPLE = new RegExp(`^(${NAME})(?:\\{((?:${LABEL}(?:,${LABEL})*)?)\\})? (\\S+)$`);
const NUMBER = /^(?:[+-]?Inf|NaN|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)$/;

/** Reads a text; throws at its first fault. */
export function parseOpenMetrics(text: string): MetricSample[] {
  if (!text.endsWith("# EOF\n")) throw new Error("the text does not end with # EOF and a newline");
  const samples: MetricSample[] = [], seen = new Set<string>(), done = new Set<string>();
  let family = "", type = "unknown", hasSamples = false;
  const lines = text.slice(0, -"# EOF\n".length).split("\n").slice(0, -1);
  lines.forEach((line, i) => {
    const fail = (why: string): never => {
      throw new Error(`line ${i + 1}: ${why}: ${line}`);
    };
    const meta = new RegExp(`^# (TYPE|UNIT|HELP) (${NAME}) (.*)$`).exec(line);
    if (meta) {
      const [, kind, name, rest] = meta;
      if (name !== family) {
        if (done.has(name)) fail("a family in two pieces");
        done.add(name);
        [family, type, hasSamples] = [name, "unknown", false];
      }
      if (hasSamples) fail("metadata after samples");
      if (kind === "TYPE" && !TYPES.includes(rest)) fail("unknown type");
      if (kind === "TYPE") type = rest;
      if (kind === "UNIT" && !name.endsWith(`_${rest}`)) fail("the name does not end with its unit");
      return;
    }
    if (line.startsWith("#")) fail("a comment that is none");
    const [, name, labelText = "", value] = SAMPLE.exec(line) ?? fail("not a sample");
    const suffix = (SUFFIXES[type] ?? [""]).find((s) => name === family + s);
    if (suffix === undefined) fail(`not a sample of ${type} ${family}`);
    if (!NUMBER.test(value)) fail("not a number");
    const number = Number(value.replace("Inf", "Infinity"));
    if (type === "counter" && !(number >= 0)) fail("a counter below 0");
    if (seen.has(`${name}{${labelText}}`)) fail("the same sample twice");
    seen.add(`${name}{${labelText}}`);
    hasSamples = true;
    const labels = Object.fromEntries(
      [...labelText.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)].map((m) => [m[1], m[2]]),
    );
    if (Object.keys(labels).length !== (labelText.match(/="/g) ?? []).length) fail("the same label twice");
    samples.push({ name, labels, value: number });
  });
  checkBuckets(samples);
  return samples;
}

function checkBuckets(samples: MetricSample[]): void {
  const last = new Map<string, { le: number; count: number }>();
  for (const { name, labels: { le, ...labels }, value } of samples) {
    if (!name.endsWith("_bucket")) continue;
    const key = `${name} ${JSON.stringify(labels)}`,
      bound = Number(le.replace("Inf", "Infinity")),
      before = last.get(key);
    if (Number.isNaN(bound)) throw new Error(`${key}: le is ${le}`);
    if (before && !(bound > before.le && value >= before.count)) {
      throw new Error(`${key}: buckets do not grow at le ${le}`);
    }
    last.set(key, { le: bound, count: value });
  }
  for (const [key, { le, count }] of last) {
    if (le !== Infinity) throw new Error(`${key}: no bucket +Inf`);
    const [name, labels] = [key.split(" ")[0].replace(/_bucket$/, "_count"), key.slice(key.indexOf(" ") + 1)];
    const total = samples.find((s) => s.name === name && JSON.stringify(s.labels) === labels);
    if (total?.value !== count) throw new Error(`${key}: _count is ${total?.value}, the last bucket ${count}`);
  }
}
