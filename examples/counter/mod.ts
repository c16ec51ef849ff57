/** counter: a number in a file, and a ctl file that changes it. */

import { ctl, definePlugin, json, tree } from "ring9/plugin";

export default definePlugin({
  start(ctx) {
    const initial = ctx.options["start"] as number;
    let count = initial, step = 1, changes = 0;
    const set = (value: number) => {
      count = value;
      changes++;
    };
    return tree({
      count: () => count,
      stats: json(() => ({ count, step, changes })),
      ctl: ctl({
        reset: { help: "back to where it started", run: () => set(initial) },
        "add [n:int]": { help: "adds n, or the step", run: (n) => set(count + (n ?? step)) },
        "step n:1..1000": { help: "what add adds when it is not told", run: (n) => void (step = n) },
      }),
    }, ctx);
  },
});
