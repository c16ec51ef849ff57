/**
 * What a node prints when it has booted: the checklist, where it listens, and how to mount it from elsewhere.
 *
 * Layer: cmd, pure text.
 */

import { parseDial } from "../core/p9/dial.ts";
import { quote } from "../core/path.ts";
import type { Image } from "../core/plugin/image.ts";
import type { PluginInstance } from "../core/plugin/supervisor.ts";

/** The first line. */
export function greeting(image: Image): string {
  return `ring9: booting image ${image.name}${image.description ? `: ${image.description}` : ""}`;
}

/** A line of the checklist: a plugin, its placement, its milliseconds. */
export function planLine(inst: PluginInstance): string {
  const where = inst.placement === "inline" ? "" : `  ${inst.started?.id}, ${inst.started?.confinement}`;
  return `  ${inst.name.padEnd(12)} ${inst.placement.padEnd(10)} ${inst.startMs.toFixed(1).padStart(7)} ms${where}`;
}

/** A line for each disk: where it is, how full, and what with if it was made just now; or why it is not there. */
export function diskLines(status: string): string[] {
  return status.split("\n").filter((line) => line !== "").map((line) => {
    const [name, ...rest] = line.split(" "), word = (key: string) => rest[rest.indexOf(key) + 1];
    const because = /because (.*)$/.exec(line)?.[1],
      made = / made (.*?)(?= because |$)/.exec(line)?.[1],
      label = `  disk ${name}`.padEnd(14);
    if (rest[0] === "absent") return `${label} not there: ${because}`;
    const bytes = (key: string) => `${(Number(word(key)) * Number(word("block")) / 2 ** 20).toFixed(0)} MiB`;
    const fresh = made === undefined ? "" : `, made anew ${made}`;
    const state = rest[0] === "ro" ? `, read only: ${because}` : "";
    return `${label} ${word("disk")}, ${bytes("free")} of ${bytes("blocks")} free${fresh}${state}`;
  });
}

/** What stands for `deno` at the prompt that the node was booted from: of who has only Node, npx fetched it. */
export function denoCommand(execPath: string, version: string): string {
  return execPath.includes("/_npx/") ? `npx --yes deno@${version}` : "deno";
}

/** Where it listens, and the lines to mount it with; `deno` is how that is called here. */
export function banner(addresses: string[], user: string, ms: number, deno = "deno"): string {
  const lines = [
    `up in ${ms.toFixed(0)} ms`,
    ...addresses.map((address) => `listening on ${address}`),
    "",
    "mount it from:",
  ];
  for (const address of addresses) lines.push(...howTo(address, user, deno));
  if (!addresses.some((address) => address.startsWith("tcp!"))) {
    lines.push("  over TCP: boot with --listen tcp!127.0.0.1!5640");
  }
  if (addresses.some((address) => address.startsWith("tcp!"))) {
    lines.push("", "There is no authentication yet: whoever can log in to this machine can be anybody over TCP.");
  }
  return lines.join("\n") + "\n";
}

function howTo(text: string, user: string, deno: string): string[] {
  const address = parseDial(text), word = shellWord(text);
  const options = `version=9p2000.L,uname=${shellWord(user)},access=client,msize=1048576`;
  const common: [string, string][] = [
    ["plan9port", `9p -a ${word} ls / ; 9pfuse ${word} /mnt`],
    ["another ring9", `mount ${quote(text)} /n/ring9`],
    ["this command line", `${deno} task 9p ls ${word} /`],
  ];
  const linux: [string, string][] = address.net === "tcp"
    ? [
      ["Linux", `mount -t 9p -o trans=tcp,port=${address.port},${options} ${address.host} /mnt`],
      ["a QEMU guest", `mount -t 9p -o trans=tcp,port=${address.port},${options} 10.0.2.2 /mnt   (user network)`],
    ]
    : address.net === "unix"
    ? [["Linux", `sudo mount -t 9p -o trans=unix,${options} ${shellWord(address.path)} /mnt`]]
    : [];
  return [...linux, ...common].map(([from, line]) => `  ${from.padEnd(18)} ${line}`);
}

/** A word as a POSIX shell has to be given it. */
function shellWord(text: string): string {
  return /^[\w/.,:+@%-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
