/**
 * Media types by the endings of names.
 *
 * Layer: programs/lib, a leaf.
 */

const TYPES: Record<string, string> = {
  avif: "image/avif",
  bin: "application/octet-stream",
  bz2: "application/x-bzip2",
  css: "text/css; charset=utf-8",
  csv: "text/csv; charset=utf-8",
  gif: "image/gif",
  gz: "application/gzip",
  htm: "text/html; charset=utf-8",
  html: "text/html; charset=utf-8",
  ico: "image/vnd.microsoft.icon",
  img: "application/octet-stream",
  iso: "application/octet-stream",
  jpeg: "image/jpeg",
  jpg: "image/jpeg",
  js: "text/javascript; charset=utf-8",
  json: "application/json",
  map: "application/json",
  md: "text/markdown; charset=utf-8",
  mjs: "text/javascript; charset=utf-8",
  mp3: "audio/mpeg",
  mp4: "video/mp4",
  ogg: "audio/ogg",
  pcap: "application/vnd.tcpdump.pcap",
  pdf: "application/pdf",
  png: "image/png",
  svg: "image/svg+xml",
  tar: "application/x-tar",
  ts: "text/plain; charset=utf-8",
  txt: "text/plain; charset=utf-8",
  wasm: "application/wasm",
  wav: "audio/wav",
  webm: "video/webm",
  webp: "image/webp",
  woff: "font/woff",
  woff2: "font/woff2",
  xml: "application/xml",
  xz: "application/x-xz",
  zip: "application/zip",
  zst: "application/zstd",
};

/** The type of a file; one without an ending is text, as most files of a name space are. */
export function typeOf(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1), dot = name.lastIndexOf(".");
  if (dot <= 0) return "text/plain; charset=utf-8";
  const ending = name.slice(dot + 1).toLowerCase();
  return Object.hasOwn(TYPES, ending) ? TYPES[ending] : "application/octet-stream";
}
