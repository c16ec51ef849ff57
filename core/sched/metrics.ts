/**
 * Families of counters for /sys/metrics: cores, isolates, rings, queues.
 *
 * Layer: core/sched, pure; core/metrics.ts writes them.
 */

import type { Family, Labels, Sample } from "../metrics.ts";
import type { QueueTable } from "../queues.ts";
import type { RingRow } from "../ring/matrix.ts";
import type { ClientState, CoreControl } from "./control.ts";
import type { CoreRow } from "./units.ts";

/** Cores: what each is used for, what it has spent its time on, how often it changed hands. */
export function coreMetrics(control: CoreControl): Family[] {
  const rows = control.table.cores(), labels = ({ cpu }: CoreRow) => ({ core: cpu });
  const count = (name: string, help: string, value: (row: CoreRow) => number): Family => ({
    name: `ring9_core_${name}`,
    type: "counter",
    help,
    samples: rows.map((row) => ({ labels: labels(row), value: value(row) })),
  });
  return [
    {
      name: "ring9_core",
      type: "info",
      help: "what a core is used for, and by whom",
      samples: rows.map((row) => ({
        labels: { core: row.cpu, state: row.state, provisioned: row.provisioned ?? "", allocated: row.allocated ?? "" },
        value: 1,
      })),
    },
    {
      name: "ring9_core_time_seconds",
      type: "counter",
      unit: "seconds",
      help: "what the host counted of a core's time",
      samples: rows.flatMap(({ cpu }) =>
        Object.entries(control.host.cpuCounters(cpu)).map(([mode, value]) => ({ labels: { core: cpu, mode }, value }))
      ),
    },
    count("grants", "how often it was given to somebody", (row) => row.grants),
    count("revocations", "how often it was taken back", (row) => row.revocations),
    count("forced", "how often it was taken by force", (row) => row.forced),
  ];
}

/** What is counted of an isolate or process: where it comes from, its name here, and what it means. */
const ISOLATE: [key: string, name: string, help: string, scale?: number][] = [
  ["cpu_ms", "cpu_seconds", "CPU time that it took", 1e-3],
  ["rundelay_ms", "run_delay_seconds", "time that it was ready to run and did not", 1e-3],
  ["scheduled", "scheduled", "how often it was put on a CPU"],
  ["switches", "switches", "how often it gave up its CPU"],
  ["preemptions", "preemptions", "how often its CPU was taken from it"],
  ["spun", "spun", "waits that ended before it went to sleep"],
  ["parked", "parked", "waits for which it went to sleep"],
  ["beats", "beats", "heartbeats"],
  ["hangs", "hangs", "how often its heart stood still and it was left alone"],
  ["moves", "moves", "how often it was moved to other cores"],
  ["lends", "lends", "how often its promised cores were lent while it rested"],
  ["congested", "congested", "looks at which its oldest request had waited longer than qdelay"],
];
const HEAP: [key: string, name: string][] = [["heap_used", "used"], ["heap_total", "total"], [
  "heap_buffers",
  "buffers",
]];

/** All counters of a client, by name: its threads' and its own. */
export function clientCounters(control: CoreControl, state: ClientState): Record<string, number> {
  const sum = control.host.threadCounters(state.members.flatMap((member) => member.tids()));
  for (const member of state.members) {
    for (const [key, value] of Object.entries(member.counters())) sum[key] = (sum[key] ?? 0) + value;
  }
  return { ...sum, moves: state.moves, congested: state.congested, lends: state.lends };
}

/** Isolates and processes: what they took, how they waited, their heaps. */
export function isolateMetrics(control: CoreControl): Family[] {
  const all = control.clients().map((state) => ({ state, counters: clientCounters(control, state) }));
  const pick = (key: string, scale = 1): Sample[] =>
    all.filter(({ counters }) => counters[key] !== undefined)
      .map(({ state, counters }) => ({ labels: { isolate: state.name }, value: counters[key] * scale }));
  return [
    {
      name: "ring9_isolate",
      type: "info",
      help: "where an isolate or process runs",
      samples: all.map(({ state }) => ({ labels: infoOf(state), value: 1 })),
    },
    ...ISOLATE.map(([key, name, help, scale]): Family => ({
      name: `ring9_isolate_${name}`,
      type: "counter",
      help,
      unit: name.endsWith("seconds") ? "seconds" : undefined,
      samples: pick(key, scale),
    })),
    {
      name: "ring9_isolate_heap_bytes",
      type: "gauge",
      unit: "bytes",
      help: "its JavaScript heap, and array buffers beside it",
      samples: HEAP.flatMap(([key, kind]) => pick(key).map((s) => ({ ...s, labels: { ...s.labels, kind } }))),
    },
    {
      name: "ring9_isolate_queue_delay_seconds",
      type: "histogram",
      unit: "seconds",
      help: "how long its oldest request had waited, at each look",
      samples: all.map(({ state: { name, delays } }) => ({ labels: { isolate: name }, ...histogramOf(delays) })),
    },
  ];
}

/** Rings: what went through, and how both sides waited. */
export function ringMetrics(rows: readonly RingRow[]): Family[] {
  const family = (name: string, type: "counter" | "gauge", help: string, value: (row: RingRow) => number): Family => ({
    name: `ring9_ring_${name}`,
    type,
    help,
    unit: name.endsWith("bytes") ? "bytes" : undefined,
    samples: rows.map((row) => ({ labels: { from: row.from, to: row.to }, value: value(row) })),
  });
  return [
    family("messages", "counter", "messages that were written", (r) => r.producer.messages),
    family("bytes", "counter", "bytes that were written", (r) => r.producer.bytes),
    family("unread_bytes", "gauge", "bytes that wait", (r) => r.producer.bytes - r.consumer.bytes),
    family("parks", "counter", "waits for which a side went to sleep", (r) => r.producer.parks + r.consumer.parks),
    family("spins", "counter", "waits that ended before", (r) => r.producer.spins + r.consumer.spins),
    family("kicks", "counter", "how often a side was woken", (r) => r.producer.kicks + r.consumer.kicks),
    family("full", "counter", "how often the writer had to wait: nothing is dropped", (r) => r.producer.full),
  ];
}

/** Hardware queues: who has them, and the driver's own counters (frames, bytes, drops). */
export function queueMetrics(queues: QueueTable): Family[] {
  const rows = queues.rows();
  return [
    {
      name: "ring9_queue",
      type: "info",
      help: "a hardware queue and its owner",
      samples: rows.map((q) => ({
        labels: { queue: q.name, kind: q.kind, state: q.state, owner: q.owner ?? "" },
        value: 1,
      })),
    },
    {
      name: "ring9_queue_events",
      type: "counter",
      help: "what was counted of a queue",
      samples: rows.flatMap((q) =>
        Object.entries(queues.counters(q.name)).map(([event, value]) => ({ labels: { queue: q.name, event }, value }))
      ),
    },
  ];
}

function infoOf({ name, members, cpus, row, settings }: ClientState): Labels {
  return {
    isolate: name,
    runs: members.map((member) => member.id).join(" "),
    cpus,
    cores: row.allocated.length,
    priority: settings.priority,
  };
}

function histogramOf({ bounds, counts, sum }: ClientState["delays"]) {
  return { bounds, counts: [...counts], sum };
}
