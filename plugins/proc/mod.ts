/**
 * proc: the processes as files.
 *
 * Layer: a plugin, inline, with the kernel. It keeps nothing: what a file holds is made when it is opened. A proc's
 * files can be read by all but `note` and `wait`; changing a proc is for its owner, the hostowner and root.
 * The manual page is proc.md. See proc(3) of Plan 9.
 */

import {
  ctl,
  definePlugin,
  type Described,
  dir,
  dynamic,
  Err,
  file,
  type Handle,
  type Opening,
  OWRITE,
  raw,
  type Req,
  tree,
  type User,
} from "../../core/plugin/author.ts";
import type { Kernel } from "../../core/kernel.ts";
import { runNamespace } from "../../core/nsfile.ts";
import type { NoteQueue, Proc } from "../../core/proc.ts";
import { type CoreControl, procClient } from "../../core/sched/control.ts";
import { parseSettings } from "../../core/sched/settings.ts";
import { isPrivileged } from "../../core/users.ts";
import { fdText, statsText, statusText, waitText } from "./text.ts";

export default definePlugin({
  start(ctx) {
    const kernel = ctx.kernel as Kernel | undefined;
    if (!kernel) throw new Err("EPERM", "proc needs the kernel: place it inline, with permissions.kernel");
    const dirs = new WeakMap<Proc, Described>();
    const procDir = (proc: Proc) => {
      let made = dirs.get(proc);
      if (!made) dirs.set(proc, made = filesOf(kernel, proc));
      return made;
    };
    const root = dynamic({
      list: () => kernel.procs.list().map((proc) => String(proc.pid)),
      get(name) {
        const proc = /^[1-9]\d*$/.test(name) ? kernel.procs.get(Number(name)) : undefined;
        return proc && procDir(proc);
      },
    });
    return tree(root, ctx);
  },
});

/** The files of one proc. */
function filesOf(kernel: Kernel, proc: Proc): Described {
  const uid = proc.user.name;
  const may = (user: User, what: string) => {
    if (user.name === uid || isPrivileged(user, kernel.hostowner.name)) return;
    throw new Err("EPERM", `${what} proc ${proc.pid} is for ${uid}, not for ${user.name}`);
  };
  return dir({
    ctl: ctlOf(kernel, proc, may),
    status: file({ uid, read: () => statusText(proc) }),
    ns: file({
      uid,
      mode: 0o666,
      read: () => proc.nsText(),
      message(text, req) {
        may(req.user, "the name space of");
        return runNamespace(proc, text, `/proc/${proc.pid}/ns`, req.signal);
      },
    }),
    fd: file({ uid, read: () => fdText(proc) }),
    note: raw({ uid, mode: 0o666, open: (how) => openNote(proc, how, may) }),
    wait: raw({ uid, mode: 0o444, open: (how) => openWait(proc, how, may) }),
    stats: file({ uid, read: () => statsText(proc) }),
  }, { uid });
}

type May = (user: User, what: string) => void;

function ctlOf(kernel: Kernel, proc: Proc, may: May): Described {
  const owned = <T>(req: Req, run: () => T): T => {
    may(req.user, "the ctl of");
    return run();
  };
  return ctl({
    "kill [note:text]": {
      help: "ends it; the note is its status, or killed",
      run: (note, req) => owned(req, () => proc.kill(note ?? "killed")),
    },
    "note text:text": { help: "posts a note", run: (text, req) => owned(req, () => proc.note(text)) },
    "stop": { help: "holds back its file calls", run: (req) => owned(req, () => proc.stop()) },
    "start": { help: "lets them go on", run: (req) => owned(req, () => proc.start()) },
    "close fd:int": { help: "closes a file", run: (fd, req) => owned(req, () => proc.fgrp.remove(fd)) },
    "closefiles": {
      help: "closes all its files",
      run: (req) =>
        owned(req, async () => void await Promise.all(proc.fgrp.entries().map(([fd]) => proc.fgrp.remove(fd)))),
    },
    "want n:0..1024": {
      help: "how many cores it would like to have alone",
      run: (want, req) =>
        owned(req, () => {
          const { guaranteed } = coresOf(kernel).client(procClient(proc.pid)).row;
          coresOf(kernel).set(procClient(proc.pid), { want, cores: Math.max(want, guaranteed) });
        }),
    },
    "min n:0..1024": {
      help: "how many of them it is guaranteed; for the hostowner alone",
      run: (n, req) => guarantee(kernel, proc, n, req),
    },
    "wired list": {
      help: "the only cores that will do, 2-3; or none",
      run: (list, req) => owned(req, () => coresOf(kernel).set(procClient(proc.pid), parseSettings(["wired", list]))),
    },
    "yield [core:int]": {
      help: "gives a core back",
      run: (core, req) => owned(req, () => coresOf(kernel).yield(procClient(proc.pid), core)),
    },
    "run path words...": {
      help: "starts a program as its child",
      run: (path, words, req) =>
        owned(req, async () => {
          if (!kernel.programs) throw new Err("EOPNOTSUPP", "this system runs no programs");
          await kernel.programs.spawn(proc, path, { args: words }, req.signal);
        }),
    },
    "name text": { help: "what status calls it", run: (text, req) => owned(req, () => rename(proc, text)) },
  }, { mode: 0o666, uid: proc.user.name });
}

/** A promise takes cores from everybody else. */
function rename(proc: Proc, name: string): void {
  if (name === "") throw new Err("EINVAL", "a proc's name is not empty");
  proc.name = name;
}

function guarantee(kernel: Kernel, proc: Proc, guaranteed: number, req: Req): void {
  if (!isPrivileged(req.user, kernel.hostowner.name)) {
    throw new Err("EPERM", `cores are guaranteed by ${kernel.hostowner.name}, not by ${req.user.name}`);
  }
  const control = coresOf(kernel), name = procClient(proc.pid), { cores } = control.client(name).row;
  control.set(name, { guaranteed, cores: Math.max(cores, guaranteed) });
}

function coresOf(kernel: Kernel): CoreControl {
  if (!kernel.cores) throw new Err("EOPNOTSUPP", "nobody moves threads in this system");
  return kernel.cores;
}

function openNote(proc: Proc, how: Opening, may: May): Handle {
  may(how.req.user, "the notes of");
  let notes: NoteQueue | undefined;
  const handle: Handle = {
    write(data) {
      proc.note(new TextDecoder().decode(data).replace(/\n$/, ""));
      return data.length;
    },
    close: () => notes?.close(),
  };
  if ((how.mode & 3) !== OWRITE) {
    notes = proc.catchNotes();
    handle.read = async (dst, _offset, req) => cut(await notes!.next(req.signal), dst);
  }
  return handle;
}

/** Each read waits for a child to end, and answers its record. */
function openWait(proc: Proc, how: Opening, may: May): Handle {
  may(how.req.user, "the children of");
  return { read: async (dst, _offset, req) => cut(waitText(await proc.wait(req.signal)), dst) };
}

function cut(text: string, dst: Uint8Array): Uint8Array {
  return new TextEncoder().encode(text).subarray(0, dst.length);
}
