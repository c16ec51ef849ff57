/**
 * RamDir: the names of one directory in memory, with cookies for listings that stay right.
 *
 * Layer: fs, below ram.ts. Each entry has a number, higher than those before it, which it keeps until it goes. A
 * listing goes on after a number, so it needs no state of its own, and any number of them may run while entries come
 * and go: what was there all the time is listed exactly once.
 *
 * What holds always: numbers rise along the slots; an empty slot is an entry that went; at most half are empty.
 */

/** What a directory holds: something with a name and a number. */
export interface Named {
  name: string;
  /** Its cookie; the directory's to set. */
  seq: number;
}

const FEW = 32;

/** The entries of a directory. */
export class RamDir<E extends Named> {
  #byName = new Map<string, E>();
  #slots: (E | null)[] = [];
  #seqs: number[] = [];
  #lastSeq = 0;

  /** How many entries there are. */
  get size(): number {
    return this.#byName.size;
  }

  get(name: string): E | undefined {
    return this.#byName.get(name);
  }

  /** Adds an entry, at the end. Its name must be free. */
  add(entry: E): void {
    entry.seq = ++this.#lastSeq;
    this.#byName.set(entry.name, entry);
    this.#slots.push(entry);
    this.#seqs.push(entry.seq);
  }

  remove(entry: E): void {
    this.#byName.delete(entry.name);
    this.#slots[this.#find(entry.seq)] = null;
    if (this.#slots.length > FEW && this.#slots.length > 2 * this.#byName.size) this.#compact();
  }

  /** Gives an entry of this directory another name, which must be free. It keeps its place. */
  rename(entry: E, name: string): void {
    this.#byName.delete(entry.name);
    entry.name = name;
    this.#byName.set(name, entry);
  }

  /** Puts `entry`, of no directory, in the place of `old`, so that a listing sees the name once. */
  replace(old: E, entry: E): void {
    entry.name = old.name;
    entry.seq = old.seq;
    this.#byName.set(entry.name, entry);
    this.#slots[this.#find(old.seq)] = entry;
  }

  /** The entries after `cookie`, in the order of their numbers, until `visit` answers false. */
  list(cookie: number, visit: (entry: E) => boolean): void {
    for (let i = this.#find(cookie + 1); i < this.#slots.length; i++) {
      const entry = this.#slots[i];
      if (entry && !visit(entry)) return;
    }
  }

  /** The first slot whose number is `seq` or above. */
  #find(seq: number): number {
    let low = 0, high = this.#seqs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#seqs[middle] < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #compact(): void {
    this.#slots = this.#slots.filter((entry) => entry !== null);
    this.#seqs = this.#slots.map((entry) => entry!.seq);
  }
}
