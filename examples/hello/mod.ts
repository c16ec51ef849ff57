/** hello: the smallest useful plugin, a tree of a text, a computed file and a directory. */

import { definePlugin, tree } from "ring9/plugin";

export default definePlugin({
  start: (ctx) =>
    tree({
      hello: "hello, world\n",
      whoami: (req) => `${req.user.name}\n`,
      sub: { time: () => `${new Date(ctx.clock.now()).toISOString()}\n` },
    }, ctx),
});
