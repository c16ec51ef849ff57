/**
 * A directory as a page.
 *
 * Layer: programs/lib, pure. Names are escaped: whoever made them is not trusted.
 */

import { type Dir, DMDIR } from "ring9/proc";

/** The page of the directory `names`. */
export function listing(names: readonly string[], entries: readonly Dir[]): string {
  const title = escaped(`/${names.join("/")}`);
  const sorted = entries.toSorted((a, b) => a.name < b.name ? -1 : 1);
  const rows = [...names.length > 0 ? [`<tr><td><a href="../">../</a></td></tr>\n`] : [], ...sorted.map(rowOf)];
  return `<!doctype html>\n<html><head><meta charset="utf-8"><title>${title}</title></head>\n<body><h1>${title}</h1>\n` +
    `<table>\n${rows.join("")}</table></body></html>\n`;
}

function rowOf({ name, mode, length, mtime }: Dir): string {
  const slash = mode & DMDIR ? "/" : "", size = slash ? "" : String(length);
  const when = new Date(mtime * 1000).toISOString().slice(0, 16).replace("T", " ");
  return `<tr><td><a href="./${encodeURIComponent(name)}${slash}">${escaped(name)}${slash}</a></td>` +
    `<td align="right">${size}</td><td>${when}</td></tr>\n`;
}

function escaped(text: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (char) => entities[char]);
}
