/**
 * IdTable: what a client's numbers, its tags and fids, stand for.
 *
 * Layer: core/p9, pure; below the server's session. The numbers are the client's choice, and most clients choose small ones.
 * Entries come and go with every request. A Map that is used so outgrows one table after the other, and each of them
 * keeps the next alive, with all that it held: an old one then costs a full garbage collection instead of a quick one. Small
 * numbers therefore stand in pages; only large ones in a Map.
 */

/** Numbers of one page: few, so that one number in each page costs a client's server little. */
const PAGE_BITS = 5, PAGE_SIZE = 1 << PAGE_BITS, PAGE_MASK = PAGE_SIZE - 1;
/** Numbers from here on stand in the Map. */
const LARGE = 1 << 16;

/** At most one `T` a number. */
export class IdTable<T> {
  /** A page is made when the first of its numbers is used. */
  #pages: ((T | undefined)[] | undefined)[] = [];
  readonly #large = new Map<number, T>();
  #size = 0;

  /** Numbers that stand for something. */
  get size(): number {
    return this.#size;
  }

  /** What `id`, an unsigned number of 32 bits, stands for. */
  get(id: number): T | undefined {
    if (id >= LARGE) return this.#large.get(id);
    const page = this.#pages[id >>> PAGE_BITS];
    return page === undefined ? undefined : page[id & PAGE_MASK];
  }

  has(id: number): boolean {
    return this.get(id) !== undefined;
  }

  /** Lets `id` stand for `value`, in the place of what it stood for. */
  set(id: number, value: T): void {
    if (!this.has(id)) this.#size++;
    if (id >= LARGE) this.#large.set(id, value);
    else this.#page(id >>> PAGE_BITS)[id & PAGE_MASK] = value;
  }

  /** Lets `id` stand for nothing. */
  delete(id: number): void {
    if (!this.has(id)) return;
    this.#size--;
    if (id >= LARGE) this.#large.delete(id);
    else this.#page(id >>> PAGE_BITS)[id & PAGE_MASK] = undefined;
  }

  /** Empties the table: all that it held. */
  drain(): T[] {
    const all = [...this.#pages.flat(), ...this.#large.values()].filter((value) => value !== undefined);
    this.#pages = [];
    this.#large.clear();
    this.#size = 0;
    return all;
  }

  #page(index: number): (T | undefined)[] {
    while (this.#pages.length <= index) this.#pages.push(undefined);
    return this.#pages[index] ??= new Array<T | undefined>(PAGE_SIZE).fill(undefined);
  }
}
