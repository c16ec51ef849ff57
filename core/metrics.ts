/**
 * Counters as OpenMetrics text, for /sys/metrics.
 *
 * Layer: core, a leaf, pure. Each part of the system answers families; `openMetrics` writes them as one text. What holds
 * always: a family stands in one piece, its samples have its labels escaped, and the text ends with `# EOF`.
 *
 * See the OpenMetrics 1.0 specification (text format).
 */

/** Names and values; in the order in which they are written. */
export type Labels = Record<string, string | number>;

/** One value. */
export interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

/** A histogram: counts that are not cumulative, the last one above all bounds. */
export interface HistogramSample {
  readonly labels: Labels;
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
  readonly sum: number;
}

/** All samples of one name; a counter's name is without `_total`. */
export type Family =
  | { name: string; type: "counter" | "gauge" | "info"; help: string; unit?: string; samples: Sample[] }
  | { name: string; type: "histogram"; help: string; unit?: string; samples: HistogramSample[] };

const SUFFIX = { counter: "_total", gauge: "", info: "_info", histogram: "" } as const;

/** The text of some families; one without samples is left out, those of one name are joined. */
export function openMetrics(families: readonly Family[]): string {
  const byName = new Map<string, Family[]>();
  for (const family of families) {
    if (family.samples.length > 0) byName.set(family.name, [...byName.get(family.name) ?? [], family]);
  }
  return [...byName.values()].map(familyText).join("") + "# EOF\n";
}

function familyText(same: Family[]): string {
  const { name, type, unit, help } = same[0];
  const head = `# TYPE ${name} ${type}\n${unit ? `# UNIT ${name} ${unit}\n` : ""}# HELP ${name} ${escaped(help)}\n`;
  return head +
    same.map((family) =>
      family.type === "histogram"
        ? family.samples.map((s) => histogramText(name, s)).join("")
        : family.samples.map((s) => `${name}${SUFFIX[family.type]}${labelText(s.labels)} ${number(s.value)}\n`).join("")
    ).join("");
}

function histogramText(name: string, { labels, bounds, counts, sum }: HistogramSample): string {
  let below = 0;
  const buckets = counts.map((count, i) => {
    const le = i < bounds.length ? number(bounds[i]) : "+Inf";
    return `${name}_bucket${labelText({ ...labels, le })} ${below += count}\n`;
  });
  return buckets.join("") +
    `${name}_count${labelText(labels)} ${below}\n${name}_sum${labelText(labels)} ${number(sum)}\n`;
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${escaped(String(value))}"`);
  return pairs.length > 0 ? `{${pairs.join(",")}}` : "";
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function number(value: number): string {
  if (value === Infinity) return "+Inf";
  if (value === -Infinity) return "-Inf";
  return Number.isNaN(value) ? "NaN" : String(value);
}
