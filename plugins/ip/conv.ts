/**
 * Conversations and protocols, as the files of /net show them: what TCP, UDP, ICMP, interfaces and host sockets have in common.
 *
 * Layer: plugins/ip, under dev.ts, which makes a directory of each. What holds always: a conversation lives from its clone
 * to the last close of a file in it; its readiness is that of the conversation as a whole, whoever asks by which file.
 *
 * See ip(3) of Plan 9.
 */

import type { Req, User } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import type { Readiness } from "../../net/tcp/conn.ts";
import { boolOf, execute, type Verbs } from "./command.ts";
import { Waiters } from "./waiters.ts";

/** Nothing can be done with it yet. */
export const IDLE: Readonly<Readiness> = { readable: false, writable: false, hangup: false, error: false };

/** The letters of a readiness: `r` a read does not wait, `w` a write does not, `h` hung up, `e` an error. */
export function readyText({ readable, writable, hangup, error }: Readiness): string {
  return `${readable ? "r" : "-"}${writable ? "w" : "-"}${hangup ? "h" : "-"}${error ? "e" : "-"}`;
}

/** Who looks at the packets of a conversation; answers how to stop. */
export type Watch = (see: (bytes: Uint8Array, at: number, end: number) => void) => () => void;

/** What of a conversation is saved whatever its kind. */
export interface SavedConv {
  id: number;
  owner: string;
  perm: number;
  opens: number;
  nonblocking: boolean;
}

/** One conversation: `/net/tcp/N`. */
export abstract class Conv {
  /** Whose it is; permissions of its files. */
  owner: string;
  perm = 0o660;
  /** Files of it that are open. */
  opens = 0;
  /** Nothing waits: EAGAIN, EINPROGRESS. */
  nonblocking = false;
  closed = false;
  /** Why the last thing failed, for `err`. */
  lastError: Err | undefined;
  readonly readers = new Waiters();
  readonly writers = new Waiters();
  #callers: Waiters | undefined;
  #watchers: Waiters | undefined;

  /** `serial` tells it from others that had its number. */
  constructor(readonly proto: Proto, readonly id: number, readonly serial: number, owner: string) {
    this.owner = owner;
  }

  /** What can be done with it now. */
  abstract get ready(): Readiness;
  /** One line, the name of the state first. */
  abstract get status(): string;
  abstract get local(): string;
  abstract get remote(): string;
  /** Bytes that wait to be read. */
  abstract get length(): number;
  protected abstract get verbs(): Verbs<this>;

  abstract read(dst: Uint8Array, req: Req): number | MaybePromise<Uint8Array>;
  abstract write(data: Uint8Array, req: Req): MaybePromise<number>;
  /** Lets go of what is below. */
  protected abstract release(): void;

  /** Waits for a call; the conversation that it is. */
  listen(_req: Req): MaybePromise<Conv> {
    throw new Err("EOPNOTSUPP", `${this.proto.name} takes no calls`);
  }

  /** Shows its packets to somebody; undefined when there are none to be seen. */
  get watch(): Watch | undefined {
    return undefined;
  }

  /** Why it ended, or why the last command failed; empty when nothing did. */
  get errText(): string {
    return this.lastError === undefined ? "" : `${this.lastError.message}\n`;
  }

  /** Runs what was written to ctl. */
  ctl(data: Uint8Array, req: Req): MaybePromise<void> {
    try {
      const done = execute(this.verbs, this, data, req);
      return done instanceof Promise ? done.catch((thrown) => this.failed(thrown)) : done;
    } catch (thrown) {
      this.failed(thrown);
    }
  }

  /** The line of the event file. */
  get eventLine(): string {
    const { status } = this, end = status.search(/\s/);
    return `ready ${readyText(this.ready)} ${end < 0 ? status : status.slice(0, end)}\n`;
  }

  /** Who waits for a call. */
  get callers(): Waiters {
    return this.#callers ??= new Waiters();
  }

  /** Who waits for a change. */
  get watchers(): Waiters {
    return this.#watchers ??= new Waiters();
  }

  /** Its readiness may be another one. */
  changed(): void {
    if (this.#watchers !== undefined && this.#watchers.count > 0) this.#watchers.wake();
  }

  /** Wakes all who wait, for anything may have happened. */
  wakeAll(): void {
    this.readers.wake();
    this.writers.wake();
    this.#callers?.wake();
    this.changed();
  }

  /** The last of its files was closed. */
  unused(): void {
    this.close();
  }

  /** Ends it. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    const why = () => new Err("ESHUTDOWN", `${this.proto.name}/${this.id} is hung up`);
    this.readers.fail(why);
    this.writers.fail(why);
    this.#callers?.fail(why);
    this.changed();
    this.#watchers?.fail(why);
    this.proto.remove(this);
    this.release();
  }

  protected saveCommon(): SavedConv {
    const { id, owner, perm, opens, nonblocking } = this;
    return { id, owner, perm, opens, nonblocking };
  }

  restoreCommon({ perm, opens, nonblocking }: SavedConv): void {
    Object.assign(this, { perm, opens, nonblocking });
  }

  protected failed(thrown: unknown): never {
    if (thrown instanceof Err) this.lastError = thrown;
    throw thrown;
  }

  /** Keeps why something failed, for `err`, and answers it. */
  protected noted(why: Err): Err {
    return this.lastError = why;
  }
}

/** The verbs that every conversation has. */
export const COMMON_VERBS: Verbs<Conv> = {
  nonblocking: {
    usage: "[on|off]",
    run: (conv, [flag]) => void (conv.nonblocking = boolOf(flag)),
  },
};

/** A protocol: `/net/tcp`. */
export abstract class Proto {
  readonly #convs: (Conv | undefined)[] = [];
  /** Numbers below the list's length that are free. */
  readonly #free: number[] = [];
  #serial = 0;

  /** `limit`: conversations at the most. */
  constructor(readonly name: string, readonly limit: number) {}

  /** What its stats file says. */
  abstract get stats(): string;
  /** Permissions of clone; who may not open it may have no conversation. */
  get clonePerm(): number {
    return 0o666;
  }

  /** A conversation of that kind, in no state yet. */
  protected abstract make(id: number, serial: number, owner: string): Conv;

  /** A new conversation of a user's. */
  clone(user: Pick<User, "name">): Conv {
    if (this.#convs.length - this.#free.length >= this.limit) {
      throw new Err("ENFILE", `all ${this.limit} conversations of ${this.name} are in use`);
    }
    const id = this.#free.pop() ?? this.#convs.length;
    try {
      return this.#convs[id] = this.make(id, ++this.#serial, user.name);
    } catch (thrown) {
      if (id === this.#convs.length) throw thrown;
      this.#free.push(id);
      throw thrown;
    }
  }

  /** The conversation of a number, made anew: for one that goes on from a saved state, or that has its number from elsewhere. */
  place(id: number, owner: string): Conv {
    if (this.#convs[id] !== undefined) throw new Err("EBUSY", `${this.name}/${id} is there already`);
    while (this.#convs.length < id) this.#free.unshift(this.#convs.push(undefined) - 1);
    const at = this.#free.indexOf(id);
    if (at >= 0) this.#free.splice(at, 1);
    return this.#convs[id] = this.make(id, ++this.#serial, owner);
  }

  get(id: number): Conv | undefined {
    return this.#convs[id];
  }

  /** All that there are, by their numbers. */
  *convs(): Generator<Conv> {
    for (const conv of this.#convs) if (conv !== undefined) yield conv;
  }

  /** Takes a conversation out; its number is free. */
  remove(conv: Conv): void {
    if (this.#convs[conv.id] !== conv) return;
    this.#convs[conv.id] = undefined;
    this.#free.push(conv.id);
  }
}
