/**
 * Saving and restoring state that is nothing but numbers, booleans, strings, and objects of these.
 *
 * Layer: net/tcp/cc, a leaf. Restoring takes what it knows and finds of the same kind, and leaves the rest as it is in a
 * fresh object: a state from an older or newer version, or from anywhere, is safe to adopt.
 */

/** A copy of an object's state, to be cloned or sent anywhere. */
export interface Saved {
  [field: string]: number | boolean | string | Saved;
}

/** The state of `object`: its own fields, functions and everything else left out. */
export function save(object: object): Saved {
  const saved: Saved = {};
  for (const [field, value] of Object.entries(object)) {
    if (typeof value === "object" && value !== null) saved[field] = save(value);
    else if (typeof value === "number" || typeof value === "boolean" || typeof value === "string") saved[field] = value;
  }
  return saved;
}

/** Gives `object` the fields of `saved` that it has itself, of the same kind; a number that is none is left out. */
export function restore(object: object, saved: Saved): void {
  const fields = object as Record<string, unknown>;
  for (const [field, value] of Object.entries(saved)) {
    if (!Object.hasOwn(object, field)) continue;
    const own = fields[field];
    if (typeof own === "object" && own !== null && typeof value === "object" && value !== null) restore(own, value);
    else if (typeof own === typeof value && typeof own !== "object" && !Number.isNaN(value)) fields[field] = value;
  }
}
