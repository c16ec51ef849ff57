/**
 * The Linux kernel's own 9P client, in a QEMU guest, against ring9; and against diod, which shows that the checks
 * themselves are right.
 *
 * Needs: qemu-system-x86_64, gcc, xz, apt's lists (for Debian's kernel and busybox), diod: tools/apt-packages.txt.
 * What is checked: guest/suite.sh. One guest boot a server, many mounts.
 */

import { guestMissing } from "./guest.ts";
import { runSuite } from "./guest_suite.ts";
import { startDiod, startRing9 } from "./servers.ts";
import { interop, program } from "../skip.ts";

const everywhere = { dialects: "9p2000.L 9p2000.u 9p2000", caches: "none loose" };

interop("Linux's kernel mounts ring9 in every dialect and works in it", { needs: [guestMissing] }, async (t) => {
  await using server = await startRing9();
  await runSuite(t, server, { ...everywhere, msize: 1 << 20, fsxOperations: 500, native: true, lacks: "" });
});

interop("diod passes the guest's checks, so they are right", { needs: [guestMissing, program("diod")] }, async (t) => {
  await using server = await startDiod();
  // It refuses Tgetlock, and its fids are names, which a rename breaks.
  const lacks = "getlock_between_mounts loose:probe_renames";
  const suite = { dialects: "9p2000.L", caches: "none", msize: 65536, fsxOperations: 300, native: false, lacks };
  await runSuite(t, server, suite);
});
