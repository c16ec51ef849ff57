/**
 * top: cores, isolates and rings live, from /sys/metrics alone, so that it works from another host as well.
 *
 * Layer: cmd; the shell's `top` (sh.ts) and `9p top ADDRESS` (9p_commands.ts) read the file and print what this makes.
 * A frame is made of two readings: rates are what has changed between them.
 */

/** Samples by name, as they stand in the text. */
export type Metrics = Map<string, { labels: Record<string, string>; value: number }[]>;

/** How top is run. */
export interface TopOptions {
  /** The text of /sys/metrics. */
  read(): Promise<string>;
  print(text: string): Promise<void>;
  /** Seconds between two readings. */
  seconds: number;
  /** How many frames; Infinity: until it is interrupted. */
  frames: number;
  /** Draws over the frame before. */
  clear: boolean;
  signal?: AbortSignal;
}

const HOME_AND_CLEAR = "\x1b[H\x1b[J";
const MIB = 2 ** 20;

/** Words behind `top`: `[-1|once] [seconds]`; undefined when they are none of these. */
export function topWords(words: readonly string[]): { seconds: number; frames: number } | undefined {
  const once = words.some(isOnce), rest = words.filter((word) => !isOnce(word));
  const seconds = rest.length === 0 ? 1 : Number(rest[0]);
  if (rest.length > 1 || !(seconds >= 0.05 && seconds <= 3600)) return undefined;
  return { seconds, frames: once ? 1 : Infinity };
}

/** Prints frames until there were enough, or it is interrupted. */
export async function runTop({ read, print, seconds, frames, clear, signal }: TopOptions): Promise<void> {
  let before = parseMetrics(await read()), beforeMs = performance.now();
  for (let frame = 0; frame < frames; frame++) {
    await sleep(seconds * 1000, signal);
    if (signal?.aborted) return;
    const after = parseMetrics(await read()), afterMs = performance.now();
    const text = topFrame(before, after, (afterMs - beforeMs) / 1000);
    await print((clear ? HOME_AND_CLEAR : frame > 0 ? "\n" : "") + text);
    [before, beforeMs] = [after, afterMs];
  }
}

/** Reads the samples of an OpenMetrics text. */
export function parseMetrics(text: string): Metrics {
  const metrics: Metrics = new Map();
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
    if (name === undefined) continue;
    const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, unescaped(text)]);
    const samples = metrics.get(name) ?? [];
    samples.push({ labels: Object.fromEntries(pairs), value: Number(value) });
    metrics.set(name, samples);
  }
  return metrics;
}

/** Three tables: what has happened in so many seconds. */
export function topFrame(before: Metrics, after: Metrics, seconds: number): string {
  const rate = (name: string, labels: Record<string, string>) =>
    (find(after, name, labels) - find(before, name, labels)) / seconds;
  const cores = (after.get("ring9_core_info") ?? []).map(({ labels: { core, state, provisioned, allocated } }) => {
    const time = (mode: string) => rate("ring9_core_time_seconds_total", { core, mode });
    const owner = allocated || (provisioned ? `(${provisioned})` : "-");
    return [core, state, owner, ...["user", "system", "irq", "steal", "idle"].map((mode) => percent(time(mode)))];
  });
  const isolates = (after.get("ring9_isolate_info") ?? []).map(({ labels }) => {
    const { isolate, runs, cpus, priority } = labels;
    const per = (name: string) => rate(`ring9_isolate_${name}_total`, { isolate });
    const heap = find(after, "ring9_isolate_heap_bytes", { isolate, kind: "used" });
    const shares = [percent(per("cpu_seconds")), percent(per("run_delay_seconds"))];
    const counts = ["preemptions", "spun", "parked"].map((name) => short(per(name)));
    return [isolate, runs || "-", cpus, priority, ...shares, ...counts, `${(heap / MIB).toFixed(1)}M`];
  });
  const rings = (after.get("ring9_ring_messages_total") ?? []).map(({ labels }) => {
    const per = (name: string) => short(rate(`ring9_ring_${name}_total`, labels));
    const unread = short(find(after, "ring9_ring_unread_bytes", labels));
    return [labels.from, labels.to, per("messages"), per("bytes"), unread, per("full"), per("kicks")];
  });
  const tables = [
    table(["core", "state", "owner", "user", "sys", "irq", "steal", "idle"], cores, 3),
    table(["isolate", "runs", "on", "prio", "cpu", "wait", "preempt/s", "spun/s", "parked/s", "heap"], isolates, 4),
    table(["from", "to", "msg/s", "byte/s", "unread", "full/s", "kick/s"], rings, 2),
  ];
  return tables.join("\n");
}

function find(metrics: Metrics, name: string, labels: Record<string, string>): number {
  const wanted = Object.entries(labels);
  return metrics.get(name)?.find((s) => wanted.every(([key, value]) => s.labels[key] === value))?.value ?? 0;
}

function table(headings: string[], rows: string[][], left: number): string {
  const all = [headings, ...rows];
  const widths = headings.map((_, i) => Math.max(...all.map((row) => row[i].length)));
  const cell = (text: string, i: number) => i < left ? text.padEnd(widths[i]) : text.padStart(widths[i]);
  return all.map((row) => row.map(cell).join("  ").trimEnd() + "\n").join("");
}

function percent(share: number): string {
  return `${Math.max(0, share * 100).toFixed(0)}%`;
}

/** `12`, `3.4k`, `5.6M`. */
function short(n: number): string {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]] as const) {
    if (n >= size) return `${(n / size).toFixed(1)}${unit}`;
  }
  return n.toFixed(0);
}

function unescaped(text: string): string {
  return text.replace(/\\(.)/g, (_, c) => c === "n" ? "\n" : c);
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

function isOnce(word: string): boolean {
  return word === "-1" || word === "once";
}
