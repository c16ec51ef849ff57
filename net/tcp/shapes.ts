/**
 * The numbers and flags of many objects of a few kinds, as arrays: how a stack of thousands of connections is saved fast.
 *
 * Layer: net/tcp, a leaf. The fields of a kind are named once, for the first object of it; each object is then a
 * Float64Array of their values. Objects inside of it are gone through as well, if asked for. Whoever restores gives each
 * field to an object that has one of that name and type; what else there is keeps its value, so that older and newer
 * versions read each other.
 */

/** Names of a kind's fields, those of inner objects as `rtt.varMs`. */
export type Shapes = Record<string, string[]>;

type Fields = Record<string, unknown>;

/** A field, and how to come to it: the names on the way, the last one its own. */
interface Place {
  way: string[];
  name: string;
  flag: boolean;
}

/** Turns objects into arrays, or arrays into objects. */
export class Packer {
  readonly #kinds = new Map<string, (Place | undefined)[]>();

  /** `skip`: fields that are not saved; `shapes`: those that were saved, to unpack, or an empty one, to pack. */
  constructor(readonly shapes: Shapes, readonly skip: ReadonlySet<string>) {}

  /** The values of an object of `kind`. `deep`: also of the objects in it. */
  pack(kind: string, object: object, deep = false): Float64Array {
    let places = this.#kinds.get(kind) as Place[] | undefined;
    if (places === undefined) {
      places = [];
      this.#list(object as Fields, [], deep, places);
      this.#kinds.set(kind, places);
      this.shapes[kind] = places.map(({ way, name }) => [...way, name].join("."));
    }
    const values = new Float64Array(places.length);
    for (let i = 0; i < places.length; i++) {
      const { way, name } = places[i];
      values[i] = Number(holderOf(object, way)[name]);
    }
    return values;
  }

  #list(object: Fields, way: string[], deep: boolean, places: Place[]): void {
    for (const [name, value] of Object.entries(object)) {
      if (this.skip.has(name)) continue;
      const flag = typeof value === "boolean";
      if (flag || typeof value === "number") places.push({ way, name, flag });
      else if (deep && typeof value === "object" && value !== null) {
        this.#list(value as Fields, [...way, name], deep, places);
      }
    }
  }

  /** Sets what `pack` has read. */
  unpack(kind: string, object: object, values: Float64Array): void {
    let places = this.#kinds.get(kind);
    if (places === undefined) {
      places = (this.shapes[kind] ?? []).map((path) => this.#find(object, path.split(".")));
      this.#kinds.set(kind, places);
    }
    for (let i = 0; i < places.length; i++) {
      const place = places[i];
      if (place === undefined || Number.isNaN(values[i])) continue;
      holderOf(object, place.way)[place.name] = place.flag ? values[i] !== 0 : values[i];
    }
  }

  #find(object: object, path: string[]): Place | undefined {
    const way = path.slice(0, -1), name = path.at(-1)!;
    let holder: unknown = object;
    for (const step of way) {
      holder = typeof holder === "object" && holder !== null && Object.hasOwn(holder, step)
        ? (holder as Fields)[step]
        : undefined;
    }
    if (typeof holder !== "object" || holder === null || !Object.hasOwn(holder, name) || this.skip.has(name)) {
      return undefined;
    }
    const type = typeof (holder as Fields)[name];
    return type === "boolean" || type === "number" ? { way, name, flag: type === "boolean" } : undefined;
  }
}

function holderOf(object: object, way: string[]): Fields {
  let holder = object as Fields;
  for (let i = 0; i < way.length; i++) holder = holder[way[i]] as Fields;
  return holder;
}
