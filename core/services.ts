/**
 * Services: what is posted in /srv: trees that can be mounted, and open files that others may use.
 *
 * Layer: core, used by the kernel; `#srv` shows it as files. See srv(3) of Plan 9.
 */

import type { Dev, User } from "./dev.ts";
import { Err, excerpt } from "./err.ts";
import type { OpenFile } from "./fgrp.ts";
import { checkName, quote } from "./path.ts";

/** What is behind a service: a tree, or an open file whose bytes are a 9P connection or anything else. */
export type Posted = { dev: Dev } | { file: OpenFile };

/** A posted service. */
export class Service {
  name: string;
  owner: User;
  /** Nine permission bits. */
  perm: number;
  /** qid.path in #srv. */
  readonly path: number;
  /** Milliseconds since 1970. */
  readonly mtimeMs: number;
  posted: Posted | null = null;
  /** The tree on the other side of a posted file, once it was mounted. */
  tree: Promise<Dev> | null = null;

  constructor(name: string, owner: User, perm: number, path: number, mtimeMs: number) {
    this.name = name;
    this.owner = owner;
    this.perm = perm;
    this.path = path;
    this.mtimeMs = mtimeMs;
  }

  /** One more user of the posted file. */
  hold(): OpenFile {
    if (!this.posted || !("file" in this.posted)) {
      throw new Err("ESHUTDOWN", `service ${quote(excerpt(this.name))}: nothing is posted there`);
    }
    return this.posted.file.hold();
  }

  /** Lets go of what is behind it. */
  async close(): Promise<void> {
    const posted = this.posted;
    this.posted = null;
    if (posted && "file" in posted) await posted.file.drop();
  }
}

/** The services of a system, by name. */
export class Services {
  readonly #byName = new Map<string, Service>();
  #nextPath = 1;

  list(): Service[] {
    return [...this.#byName.values()];
  }

  get(name: string): Service | undefined {
    return this.#byName.get(name);
  }

  /** A new service; a name that is taken is EEXIST. */
  post(name: string, owner: User, perm: number, nowMs: number, posted: Posted | null = null): Service {
    checkName(name);
    if (this.#byName.has(name)) throw new Err("EEXIST", `service ${quote(excerpt(name))} is there already`);
    const service = new Service(name, owner, perm & 0o777, this.#nextPath++, nowMs);
    service.posted = posted;
    this.#byName.set(name, service);
    return service;
  }

  rename(service: Service, name: string): void {
    checkName(name);
    if (this.#byName.has(name)) throw new Err("EEXIST", `service ${quote(excerpt(name))} is there already`);
    this.#byName.delete(service.name);
    service.name = name;
    this.#byName.set(name, service);
  }

  /** Takes a service away; those who have mounted it go on. */
  async remove(service: Service): Promise<void> {
    if (this.#byName.get(service.name) !== service) throw new Err("ENOENT");
    this.#byName.delete(service.name);
    await service.close();
  }
}
