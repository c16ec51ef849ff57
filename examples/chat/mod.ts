/** chat: a room. What is written to `room` is read by all who have it open; a read waits until someone speaks. */

import { appendLog, definePlugin, event, tree } from "ring9/plugin";

export default definePlugin({
  start(ctx) {
    const history = appendLog({ maxBytes: 16384 });
    const room = event({
      mode: 0o666,
      lost: (count) => `(you missed ${count} lines)\n`,
      message(text, req) {
        const line = `${req.user.name}: ${text.trimEnd()}\n`;
        history.append(line);
        room.post(line);
      },
    });
    ctx.defer(() => room.close());
    return tree({ room, history, readers: () => room.readers }, ctx);
  },
});
