/**
 * A to-do list with the API that a web service would have: list, post, get, patch, delete, all in JSON values.
 *
 * Knows nothing of files: mod.ts shows it as a tree.
 */

/** One thing to do. */
export interface Todo {
  id: number;
  title: string;
  done: boolean;
  /** ISO 8601. */
  created: string;
}

/** The list. What is asked of it that it cannot do throws a RangeError that says why. */
export class TodoStore {
  readonly #todos = new Map<number, Todo>();
  readonly #now: () => number;
  readonly #limit: number;
  #lastId = 0;

  constructor(now: () => number, limit: number) {
    this.#now = now;
    this.#limit = limit;
  }

  list(): Todo[] {
    return [...this.#todos.values()];
  }

  get(id: number): Todo | undefined {
    return this.#todos.get(id);
  }

  post(title: string): Todo {
    if (this.#todos.size >= this.#limit) throw new RangeError(`there are ${this.#limit} already`);
    const created = new Date(this.#now()).toISOString();
    const todo = { id: ++this.#lastId, title: checkTitle(title), done: false, created };
    this.#todos.set(todo.id, todo);
    return todo;
  }

  /** Changes what `change` has of `title` and `done`: all of it or nothing. */
  patch(id: number, change: { title?: unknown; done?: unknown }): Todo {
    const todo = this.#todos.get(id);
    if (!todo) throw new RangeError(`there is no ${id}`);
    const { title = todo.title, done = todo.done } = change;
    if (typeof done !== "boolean") throw new RangeError("done is true or false");
    return Object.assign(todo, { title: checkTitle(title), done });
  }

  delete(id: number): boolean {
    return this.#todos.delete(id);
  }
}

function checkTitle(title: unknown): string {
  if (typeof title !== "string" || title.trim() === "") throw new RangeError("a title is text, and not empty");
  return title.trim();
}
