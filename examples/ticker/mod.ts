/** ticker: a file whose reads wait for the next tick; `ctl` sets how often it ticks. */

import { ctl, definePlugin, event, tree } from "ring9/plugin";

export default definePlugin({
  start(ctx) {
    const ticks = event();
    let periodMs = ctx.options["periodMs"] as number, count = 0;
    let cancel = ctx.clock.after(periodMs, tick);
    function tick() {
      ticks.post(`${++count}\n`);
      cancel = ctx.clock.after(periodMs, tick);
    }
    function setPeriod(ms: number) {
      periodMs = ms;
      cancel();
      cancel = ctx.clock.after(periodMs, tick);
    }
    ctx.defer(() => {
      cancel();
      ticks.close();
    });
    return tree(
      { ticks, ctl: ctl({ "period ms:1..86400000": setPeriod }, { read: () => `period ${periodMs}\n` }) },
      ctx,
    );
  },
});
