/**
 * The ext2 plugin by itself, with a file for a disk, and its operations by path, for the tests beside this file.
 *
 * Layer: plugins/ext2, tests only.
 */

import assert from "node:assert/strict";
import type { Clock } from "../../core/clock.ts";
import { type Chan, Req, type User } from "../../core/dev.ts";
import { LOCK_WRITE } from "../../core/p9/locks.ts";
import { type Dirent, DMDIR, type Flock, NONUNAME, ORDWR, OREAD, type U64 } from "../../core/p9/types.ts";
import { tree } from "../../core/tree.ts";
import { type Behind, Front } from "./front.ts";
import { parseSource } from "./source.ts";
import { type OpenHow, type OpenVolume, Volumes, type VolumesOptions } from "./volumes.ts";

export const root: User = { name: "root", uid: 0, gid: 0 };
export const ken: User = { name: "ken", uid: 1001, gid: 1001 };

export type Fid = Chan<Behind>;

/** A lock of a process of a client: to write bytes 10 to 19, unless it says else. */
export function flock(clientId: string, procId: number, part: Partial<Flock> = {}): Flock {
  return { type: LOCK_WRITE, flags: 0, start: 10, length: 10, clientId, procId, ...part };
}

/** A clock that moves a millisecond at each look, with no alarms. */
export function testClock(start = 1_700_000_000_000): Clock {
  return { now: () => ++start, monotonic: () => start, after: () => () => {} };
}

/** The plugin's parts as mod.ts puts them together. */
export class Fixture {
  readonly log: string[] = [];
  readonly volumes: Volumes;
  readonly front: Front;

  constructor(options: Partial<VolumesOptions> = {}) {
    this.volumes = new Volumes({
      clock: testClock(),
      hostowner: "glenda",
      owner: "ext2",
      queues: undefined,
      random: (bytes) => void bytes.fill(7),
      log: (text) => void this.log.push(text),
      cacheBytes: 4 << 20,
      commitMs: 5000,
      atime: "relatime",
      users: "",
      folder: "",
      image: "",
      ...options,
    });
    this.front = new Front("ext2", { control: tree({}), empty: tree({}) }, this.volumes);
  }

  async open(name: string, disk: string, words: string[] = [], how?: OpenHow): Promise<OpenVolume> {
    return await this.volumes.open(parseSource(name, disk, words), how);
  }

  async walk(volume: string, path: string, user = root): Promise<Fid> {
    const req = new Req(user), at = await this.front.attach(user, volume, req);
    const { chan } = await this.front.walk(at, path.split("/").filter((name) => name !== ""), req);
    await this.front.clunk(at);
    assert.ok(chan, `walk stopped in ${path}`);
    return chan;
  }

  async fid(volume: string, path: string, mode = OREAD, user = root): Promise<Fid> {
    return await this.front.open(await this.walk(volume, path, user), mode, new Req(user));
  }

  /** Makes and opens a file or, with DMDIR, a directory. */
  async create(volume: string, path: string, perm = 0o644, user = root): Promise<Fid> {
    const slash = path.lastIndexOf("/"), dir = await this.walk(volume, path.slice(0, Math.max(slash, 0)), user);
    const what = { name: path.slice(slash + 1), perm, mode: perm & DMDIR ? OREAD : ORDWR, mask: false, ngid: NONUNAME };
    return await this.front.create(dir, what, new Req(user));
  }

  async put(volume: string, path: string, text: string): Promise<void> {
    const fid = await this.create(volume, path);
    await this.front.write(fid, new TextEncoder().encode(text), 0, new Req(root));
    await this.front.clunk(fid);
  }

  async text(fid: Fid, offset = 0): Promise<string> {
    const into = new Uint8Array(1 << 16), got = await this.front.read(fid, into, offset, new Req(root));
    return new TextDecoder().decode(typeof got === "number" ? into.subarray(0, got) : got);
  }

  async get(volume: string, path: string): Promise<string> {
    const fid = await this.fid(volume, path);
    const text = await this.text(fid);
    await this.front.clunk(fid);
    return text;
  }

  async write(fid: Fid, text: string, offset: number): Promise<number> {
    return await this.front.write(fid, new TextEncoder().encode(text), offset, new Req(fid.user));
  }

  /** One page of a listing. */
  async page(fid: Fid, cookie: U64, space: number): Promise<Dirent[]> {
    return await this.front.readdir(fid, cookie, space, false, new Req(root));
  }
}
