/** OpenMetrics text: labels escaped, histograms cumulative; and the strict reader of the tests refuses what is none. */

import assert from "node:assert/strict";
import { parseOpenMetrics } from "../tests/openmetrics.ts";
import { openMetrics } from "./metrics.ts";

Deno.test("families are written as OpenMetrics, and read back the same", () => {
  const nasty = 'a "b" \\ c\nd';
  const text = openMetrics([
    { name: "x", type: "counter", help: "how\nmany", samples: [{ labels: { who: nasty }, value: 3 }] },
    { name: "none", type: "gauge", help: "", samples: [] },
    { name: "y_seconds", type: "gauge", unit: "seconds", help: "", samples: [{ labels: {}, value: -0.5 }] },
    { name: "x", type: "counter", help: "joined", samples: [{ labels: { who: "b" }, value: 1e21 }] },
    { name: "h", type: "histogram", help: "", samples: [{ labels: {}, bounds: [0.1, 1], counts: [2, 0, 1], sum: 4 }] },
  ]);
  const samples = parseOpenMetrics(text);
  assert.deepEqual(samples.map((s) => [s.name, s.value]), [
    ["x_total", 3],
    ["x_total", 1e21],
    ["y_seconds", -0.5],
    ["h_bucket", 2],
    ["h_bucket", 2],
    ["h_bucket", 3],
    ["h_count", 3],
    ["h_sum", 4],
  ]);
  assert.equal(JSON.parse(`"${samples[0].labels.who}"`), nasty);
});

Deno.test("the reader refuses what is not OpenMetrics", () => {
  const head = "# TYPE x counter\n", end = "# EOF\n";
  const wrong: [string, RegExp][] = [
    ["", /# EOF/],
    [`${head}x 1\n${end}`, /not a sample of counter x/],
    [`${head}x_total -1\n${end}`, /below 0/],
    [`${head}x_total 1\nx_total 2\n${end}`, /twice/],
    [`${head}x_total{a="1",a="2"} 1\n${end}`, /same label/],
    [`${head}x_total{a='1'} 1\n${end}`, /not a sample/],
    [`${head}x_total one\n${end}`, /not a number/],
    [`${head}x_total 1\n# HELP x late\n${end}`, /metadata after/],
    [`${head}# TYPE y gauge\n${head}${end}`, /two pieces/],
    [`# UNIT x seconds\n${end}`, /unit/],
    [`# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_count 1\n${end}`, /do not grow/],
    [`# TYPE h histogram\nh_bucket{le="1"} 2\nh_count 2\n${end}`, /no bucket \+Inf/],
  ];
  for (const [text, why] of wrong) assert.throws(() => parseOpenMetrics(text), why, text);
});
