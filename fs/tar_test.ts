/** tar: entries that come back as they went, and bytes that are no archive. */

import assert from "node:assert/strict";
import { Err } from "../core/err.ts";
import { type ArchiveEntry, cleanPath, newEntry } from "./archive.ts";
import { readTar, writeTar } from "./tar.ts";

async function* row<T>(items: T[]): AsyncGenerator<T> {
  yield* items;
}

async function bytesOf(entries: ArchiveEntry[]): Promise<Uint8Array> {
  const all: number[] = [];
  for await (const piece of writeTar(row(entries))) all.push(...piece);
  return Uint8Array.from(all);
}

/** Reads an archive that comes in pieces of `step` bytes; data as text, or not at all. */
async function entriesOf(bytes: Uint8Array, step = 1000, read = true): Promise<(ArchiveEntry & { text: string })[]> {
  const pieces = Array.from(
    { length: Math.ceil(bytes.length / step) },
    (_, i) => bytes.slice(i * step, (i + 1) * step),
  );
  const entries: (ArchiveEntry & { text: string })[] = [];
  for await (const entry of readTar(row(pieces))) {
    let text = "";
    if (read && entry.data) { for await (const piece of entry.data) text += new TextDecoder().decode(piece); }
    entries.push({ ...entry, text, data: null });
  }
  return entries;
}

function file(path: string, text: string): ArchiveEntry {
  const data = new TextEncoder().encode(text);
  return { ...newEntry(path, "file"), mode: 0o644, size: data.length, data: row([data]) };
}

Deno.test("entries come back as they went: long names, large owners, times, attributes, devices", async () => {
  const long = "d/".repeat(80) + "ü".repeat(90);
  const entries: ArchiveEntry[] = [
    { ...newEntry("", "dir"), mode: 0o755 },
    { ...file(long, "x".repeat(1025)), uid: 4_000_000_000, gid: 2_097_152, mtime: { sec: -3, nsec: 999_999_999 } },
    { ...newEntry("link", "link"), target: long },
    { ...newEntry("symlink", "symlink"), target: "../../anywhere", mtime: { sec: 99_999_999_999, nsec: 0 } },
    { ...newEntry("dev", "char"), major: 300, minor: 70_000, mtime: { sec: 5, nsec: 1 } },
    { ...file("attrs", ""), xattrs: new Map([["user.a", Uint8Array.of(0, 10, 255)], ["user.b", new Uint8Array(0)]]) },
  ];
  const found = await entriesOf(await bytesOf(entries.map((entry) => ({ ...entry }))), 77);
  assert.equal(found[1].text, "x".repeat(1025));
  assert.deepEqual(found.map(({ text: _, ...entry }) => entry), entries.map((entry) => ({ ...entry, data: null })));
});

Deno.test("data that nobody reads is gone past", async () => {
  const bytes = await bytesOf([file("a", "a".repeat(3000)), file("b", "b")]);
  assert.deepEqual((await entriesOf(bytes, 512, false)).map((entry) => entry.path), ["a", "b"]);
  assert.equal(bytes.length % 10240, 0);
});

Deno.test("damaged and hostile archives are errors", async () => {
  const bytes = await bytesOf([file("a", "a".repeat(3000)), file("b", "b")]);
  const isErr = (thrown: unknown) => thrown instanceof Err;
  await assert.rejects(entriesOf(bytes.slice(0, 1500)), isErr);
  for (const at of [0, 100, 124, 148, 156]) {
    const copy = bytes.slice();
    copy[at] ^= 1;
    await assert.rejects(entriesOf(copy), isErr, `byte ${at}`);
  }
  await assert.rejects(entriesOf(await bytesOf([file("../out", "x")])), /leads out/);
  await assert.rejects(entriesOf(await bytesOf([{ ...newEntry("l", "link"), target: "a/../../b" }])), /leads out/);
  await assert.rejects(bytesOf([{ ...file("short", "abc"), size: 5 }]), /3 bytes, not 5/);
  assert.equal(cleanPath("./a//b/"), "a/b");
});
