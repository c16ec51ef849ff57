/** todo: a JSON API as files. Each thing to do is a directory; `add` makes one, `rm` removes it. */

import { definePlugin, dynamic, Err, file, json, tree } from "ring9/plugin";
import { type Todo, TodoStore } from "./store.ts";

export default definePlugin({
  start(ctx) {
    const store = new TodoStore(() => ctx.clock.now(), ctx.options["limit"] as number);
    const get = (name: string) => /^[1-9]\d*$/.test(name) ? store.get(Number(name)) : undefined;
    return tree({
      add: file({ message: (title) => void refusing(() => store.post(title)) }),
      "todos.json": json(() => store.list()),
      todos: dynamic({
        list: () => store.list().map((todo) => `${todo.id}`),
        get: (name) => todoDir(store, get(name)),
        remove: (name) => {
          if (!store.delete(Number(name))) throw new Err("ENOENT");
        },
      }),
    }, ctx);
  },
});

/** A thing to do as a directory: its JSON whole, and its fields as files. */
function todoDir(store: TodoStore, todo: Todo | undefined) {
  if (!todo) return undefined;
  const patch = (change: object) => void refusing(() => store.patch(todo.id, change));
  return {
    json: json(() => todo, (change) => patch(change as object)),
    title: file({ read: () => `${todo.title}\n`, message: (title) => patch({ title }) }),
    done: file({ read: () => todo.done, message: (text) => patch({ done: text.trim() === "true" }) }),
    created: `${todo.created}\n`,
  };
}

/** What the store refuses is invalid to whoever wrote it. */
function refusing<T>(run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    if (thrown instanceof RangeError) throw new Err("EINVAL", thrown.message);
    throw thrown;
  }
}
