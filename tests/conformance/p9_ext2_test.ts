/**
 * The 9P conformance suite over an ext2 volume: on a disk that answers at once, and on one that takes its time. Every
 * test leaves a volume in which e2fsck's rules, as our own check has them, find nothing wrong.
 */

import assert from "node:assert/strict";
import { hostClock } from "../../core/host/clock.ts";
import { Srv } from "../../core/p9/srv.ts";
import { transportPair } from "../../core/p9/transport_pair.ts";
import { BlkRam } from "../../devices/blkram.ts";
import type { Disk } from "../../devices/disk.ts";
import { Ext2 } from "../../fs/ext2/fs.ts";
import { mkfs } from "../../fs/ext2/mkfs.ts";
import { VolumeDev } from "../../plugins/ext2/volume_dev.ts";
import { p9Conformance } from "./p9_suite.ts";

const BYTES = 16 << 20;

/** A disk that answers each call a turn later. */
function later(disk: Disk): Disk {
  return {
    size: disk.size,
    sectorBytes: disk.sectorBytes,
    readOnly: false,
    cached: false,
    read: (dst, offset) => Promise.resolve().then(() => disk.read(dst, offset)),
    write: (src, offset) => Promise.resolve().then(() => disk.write(src, offset)),
    flush: () => Promise.resolve().then(() => disk.flush()),
  };
}

for (const [name, wrap] of [["at once", (disk: Disk) => disk], ["later", later]] as const) {
  p9Conformance(`ext2, inline, a disk that answers ${name}`, async () => {
    const memory = new BlkRam(BYTES), disk = wrap(memory);
    mkfs(memory, { uuid: new Uint8Array(16), now: 1_600_000_000_000, zeroed: true, uid: 0, gid: 0 });
    const fs = await Ext2.open(disk, { now: () => hostClock.now(), cacheBytes: 256 << 10 });
    await fs.setattr(fs.root, { mode: 0o777 });
    await fs.rmdir(fs.root, "lost+found"); // the suite wants an empty tree
    const dev = await VolumeDev.make("ext2", fs, {
      clock: hostClock,
      hostowner: "glenda",
      number: 0,
      atime: "relatime",
      users: "",
      changed() {},
    });
    const srv = new Srv(dev);
    return {
      connect() {
        const [ours, theirs] = transportPair();
        srv.serve(theirs);
        return ours;
      },
      async close() {
        await srv.close();
        await fs.close();
        const again = await Ext2.open(memory, { now: () => hostClock.now() });
        assert.equal(again.wasUnclean, false);
        assert.deepEqual((await again.check()).problems, []);
      },
    };
  });
}
