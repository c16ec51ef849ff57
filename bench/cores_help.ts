/** What cores_bench.ts and noise_bench.ts share: their plugin, writes to ctl files, shares of numbers. */

import type { Client } from "../core/p9/client.ts";

/** The folder of the plugin `quantum`. */
export const plugin = new URL("./cores_plugin", import.meta.url).pathname;

/** Writes commands to a ctl file. */
export async function ctl(client: Client, path: string, commands: string): Promise<void> {
  await using file = await client.open(path, 1);
  await file.write(encode(commands), 0);
}

export function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** The value below which that share of them is. */
export function at(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
