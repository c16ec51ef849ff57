import assert from "node:assert/strict";
import { join } from "node:path";
import { makeDisk } from "../../tests/ext2_image.ts";
import { Req } from "../../core/dev.ts";
import { LOCK_BLOCKED, LOCK_MAY_WAIT, LOCK_SUCCESS, LOCK_WRITE } from "../../core/p9/locks.ts";
import { DMDIR, ORDWR } from "../../core/p9/types.ts";
import { ffi, interop } from "../../tests/skip.ts";
import { Fixture, flock, root } from "./fixture.ts";
import type { Order, Report } from "./state_worker_fixture.ts";

/** A folder with a disk for one test. */
async function withDisk(use: (disk: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "ring9-state-" });
  try {
    const disk = join(dir, "usr.img");
    await makeDisk(disk, 8 << 20);
    await use(disk);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function inWorker(order: Order): Promise<Report> {
  const worker = new Worker(new URL("./state_worker_fixture.ts", import.meta.url), { type: "module" });
  try {
    return await new Promise<Report>((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<Report>) => resolve(data);
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(event.message));
      };
      worker.postMessage(order);
    });
  } finally {
    worker.terminate();
  }
}

interop(
  "a volume goes on in another isolate: open, unlinked, renamed files, half a listing, locks and who waits for one",
  { needs: [ffi] },
  async () => {
    await withDisk(async (disk) => {
      const here = new Fixture(), { front } = here, req = new Req(root);
      await here.open("usr", disk);
      const names = Array.from({ length: 60 }, (_, i) => `file${i}`);
      await front.clunk(await here.create("usr", "dir", (DMDIR | 0o755) >>> 0));
      for (const name of names) await here.put("usr", `dir/${name}`, name);
      const open = await here.create("usr", "open");
      await here.write(open, "first ", 0);
      const unlinked = await here.create("usr", "unlinked");
      await here.write(unlinked, "still here", 0);
      await front.remove(unlinked, req);
      const moved = await here.walk("usr", "dir/file0");
      await front.rename(moved, await here.walk("usr", ""), "file zero", req);
      const listing = await here.fid("usr", "dir"), page = await here.page(listing, 0, 700);
      const locked = await here.create("usr", "locked"), waiting = await here.fid("usr", "locked", ORDWR);
      assert.equal(await front.lock(locked, flock("1/guest", 7), req), LOCK_SUCCESS);
      assert.equal(await front.lock(waiting, flock("2/guest", 7), req), LOCK_BLOCKED);
      const waiter = new Req(root), wait = front.lock(waiting, flock("2/guest", 7, { flags: LOCK_MAY_WAIT }), waiter)!;
      const free = (await front.statfs(open, req)).bfree;

      const gone = assert.rejects(async () => await wait, { code: "ESTALE" });
      const { state, ids, waits } = await front.save();
      await gone;
      await assert.rejects(async () => await here.text(open), { code: "ESTALE" });
      const id = (fid: typeof open) => ids.get(fid)!;
      const order: Order = {
        state,
        ids: {
          open: id(open),
          unlinked: id(unlinked),
          listing: id(listing),
          moved: id(moved),
          locked: id(locked),
          waiting: id(waiting),
        },
        wait: waits.get(waiter)!,
        cookie: Number(page[page.length - 1].next),
      };
      const report = await inWorker(order);
      assert.deepEqual([report.open, report.unlinked], ["first and on", "still here"]);
      const seen = page.map((entry) => entry.dir.name);
      assert.ok(seen.length > 5 && seen.length < 50);
      assert.deepEqual([...seen, ...report.rest].sort(), names.slice(1).sort());
      assert.equal(report.movedName, "file zero");
      assert.deepEqual(report.locks, {
        holder: { type: LOCK_WRITE, start: 10, length: 10, procId: 7, clientId: "1/guest" },
        stranger: LOCK_BLOCKED,
        owner: LOCK_SUCCESS,
        waitsStill: true,
        granted: LOCK_SUCCESS,
        strangerAfter: LOCK_BLOCKED,
      });
      assert.deepEqual(report.log, []);

      const again = new Fixture(), volume = await again.open("usr", disk);
      assert.equal(volume.fs.wasUnclean, false, "the other isolate closed it cleanly");
      assert.deepEqual((await volume.fs.check()).problems, []);
      assert.equal(await again.get("usr", "dir/moved again"), "file0");
      assert.ok(volume.fs.statfs().freeBlocks > Number(free), "the unlinked file has been given back");
      await again.volumes.closeAll();
    });
  },
);

interop(
  "a state of another version, or of another disk, is refused, and the disk let go",
  { needs: [ffi] },
  async () => {
    await withDisk(async (disk) => {
      const here = new Fixture();
      await here.open("usr", disk);
      await here.create("usr", "file");
      const { state } = await here.front.save();
      const next = new Fixture();
      await assert.rejects(next.front.adopt({ ...state, version: 9 }), { code: "EINVAL" });
      const other = structuredClone(state);
      other.volumes[0].state.places[1].generation += 5;
      await assert.rejects(next.front.adopt(other), { code: "EINVAL", message: /not of this disk/ });
      const clash = structuredClone(state);
      const lock = (procId: number) => ({ chan: 0, lock: flock("1/guest", procId) });
      clash.volumes[0].state.locks = [lock(1), lock(2)];
      await assert.rejects(next.front.adopt(clash), { code: "EINVAL", message: /each other's way/ });
      const { chans: fids } = await next.front.adopt(state);
      assert.equal(await next.write(fids.get(0)!, "goes on", 0), 7);
      assert.equal(fids.get(0)!.mode, ORDWR);
      await next.volumes.closeAll();
    });
  },
);
