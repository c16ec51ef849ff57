/**
 * /sys/metrics: all counters of the system as OpenMetrics text.
 *
 * Layer: plugins/sys; the families are made where the counters are.
 */

import type { Kernel } from "../../core/kernel.ts";
import { type Family, openMetrics } from "../../core/metrics.ts";
import { coreMetrics, isolateMetrics, queueMetrics } from "../../core/sched/metrics.ts";

/** The text. */
export function metricsText(kernel: Kernel): string {
  const { cores, queues } = kernel;
  return openMetrics([
    ...cores ? [...coreMetrics(cores), ...isolateMetrics(cores)] : [],
    ...queueMetrics(queues),
    ...[...kernel.metrics.values()].flatMap((families) => families()),
    statFamily(kernel),
  ]);
}

/** The numbers of /sys/stats. */
function statFamily(kernel: Kernel): Family {
  const samples = [...kernel.stats].flatMap(([part, stats]) =>
    Object.entries(stats()).filter(([, value]) => typeof value === "number")
      .map(([counter, value]) => ({ labels: { part, counter }, value: value as number }))
  );
  return { name: "ring9_stat", type: "gauge", help: "counters of parts of the system", samples };
}
