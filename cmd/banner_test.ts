import assert from "node:assert/strict";
import { banner, denoCommand } from "./banner.ts";

const MOUNT = "mount -t 9p -o trans=";

/** The line for one who mounts it from there. */
function lineFor(from: string, address: string, user = "glenda", deno?: string): string {
  const line = banner([address], user, 1, deno).split("\n").find((line) => line.startsWith(`  ${from} `));
  return line!.slice(2 + from.length).trim();
}

Deno.test("the lines that boot prints can be pasted as they stand", () => {
  const unix = "unix!/run/user/1000/ring9/9p", odd = "unix!/tmp/it's here/9p";
  const options = (uname: string) => `version=9p2000.L,uname=${uname},access=client,msize=1048576`;
  assert.equal(lineFor("Linux", unix), `sudo ${MOUNT}unix,${options("glenda")} /run/user/1000/ring9/9p /mnt`);
  assert.equal(lineFor("Linux", odd), `sudo ${MOUNT}unix,${options("glenda")} '/tmp/it'\\''s here/9p' /mnt`);
  assert.equal(
    lineFor("a QEMU guest", "tcp!127.0.0.1!5640", "o k"),
    `${MOUNT}tcp,port=5640,${options("'o k'")} 10.0.2.2 /mnt   (user network)`,
  );
  assert.equal(lineFor("plan9port", unix), `9p -a '${unix}' ls / ; 9pfuse '${unix}' /mnt`);
  assert.equal(lineFor("another ring9", odd), "mount 'unix!/tmp/it''s here/9p' /n/ring9");
  assert.equal(lineFor("this command line", unix), `deno task 9p ls '${unix}' /`);
});

Deno.test("who has no deno of their own is told to go on by npx", () => {
  const npx = denoCommand("/home/glenda/.npm/_npx/4f3/node_modules/@deno/linux-x64-glibc/deno", "2.9.6");
  assert.equal(lineFor("this command line", "unix!/s", "glenda", npx), "npx --yes deno@2.9.6 task 9p ls 'unix!/s' /");
  assert.equal(denoCommand("/usr/bin/deno", "2.9.6"), "deno");
});
