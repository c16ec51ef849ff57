import assert from "node:assert/strict";
import { DMSETGID, DMSETUID, NONUNAME, OEXEC, ORDWR, OREAD, OTRUNC, OWRITE } from "../core/p9/types.ts";
import { AEXEC, AREAD, AWRITE, openWants, permits, withoutSetid } from "./perm.ts";

const file = { mode: 0o741, uid: "ken", nuid: 1, gid: "dev", ngid: 2 };

Deno.test("the first class that someone belongs to decides: owner, group, others", () => {
  const cases: [string, number, number, number][] = [["ken", 1, 2, 7], ["rob", 3, 2, 4], ["rob", 3, 4, 1]];
  for (const [name, uid, gid, bits] of cases) {
    for (let want = 0; want < 8; want++) {
      assert.equal(permits(file, { name, uid, gid }, want), (bits & want) === want, `${name} ${gid} ${want}`);
    }
  }
});

Deno.test("someone without a number is known by name, with one by the number", () => {
  assert.ok(permits(file, { name: "ken", uid: NONUNAME, gid: NONUNAME }, 7));
  assert.ok(permits(file, { name: "dev", uid: NONUNAME, gid: NONUNAME }, AREAD));
  assert.ok(!permits(file, { name: "ken", uid: 5, gid: 5 }, AREAD));
});

Deno.test("open modes ask for what they do", () => {
  const cases = [[OREAD, AREAD], [OWRITE, AWRITE], [ORDWR, AREAD | AWRITE], [OEXEC, AEXEC], [
    OREAD | OTRUNC,
    AREAD | AWRITE,
  ]];
  for (const [mode, want] of cases) assert.equal(openWants(mode), want);
});

Deno.test("setgid without group execution is a lock mark, and stays", () => {
  assert.equal(withoutSetid(DMSETUID | DMSETGID | 0o755), 0o755);
  assert.equal(withoutSetid(DMSETUID | DMSETGID | 0o745), DMSETGID | 0o745);
});
