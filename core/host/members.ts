/**
 * Isolates and processes of plugins as members of the core control, and the control itself for this host.
 *
 * Layer: core/host, between spawn.ts, which has them started, and core/sched/control.ts, which says where they run.
 */

import type { Kernel } from "../kernel.ts";
import { readRing } from "../ring/layout.ts";
import { CoreControl } from "../sched/control.ts";
import type { Member } from "../sched/core_host.ts";
import { parseCpus } from "../sched/cpulist.ts";
import type { Hosted } from "./hosted.ts";
import { Isolate, KERNEL } from "./isolate.ts";
import { hostTopology, Placer } from "./placer.ts";
import { treeThreads } from "./procfs.ts";
import type { Warden } from "./spawn.ts";

/** The core control of a kernel on this host. `hostCores` are never given to a plugin; the first one when not said. */
export function openCores(kernel: Kernel, warden: Warden, hostCores?: string): CoreControl {
  const host = new Placer(kernel.clock); // takes away first what a dead node has left: it may keep cores from us
  return new CoreControl({
    clock: kernel.clock,
    topology: hostTopology(),
    host,
    hostCores: hostCores === undefined ? undefined : parseCpus(hostCores),
    log: (text) => kernel.log.print(text),
    shared: (cpu) => warden.rings.moved(KERNEL, cpu),
    keep: (name) => kernel.supervisor?.get(name) !== undefined,
  });
}

/** A plugin that runs, as a member. */
export function memberOf(hosted: Hosted): Member {
  return hosted instanceof Isolate ? isolateMember(hosted) : processMember(hosted);
}

function isolateMember(isolate: Isolate): Member {
  return {
    id: isolate.id,
    tids: () => isolate.pid > 0 ? [isolate.pid] : [],
    moved: (cpu) => isolate.moved(cpu),
    spin: (looks) => isolate.spin(looks),
    queue() {
      const { producer, consumer } = readRing(isolate.transport.out.ref);
      const answered = readRing(isolate.transport.in.ref).producer.bytes;
      return { written: producer.bytes, taken: consumer.bytes, answered, awake: !isolate.parked };
    },
    watchdog: (vigil, told) => isolate.dog.set(vigil, told),
    onWork: (told) => isolate.onWork = told,
    counters: () => ({ ...isolate.counters(), beats: isolate.beats(), hangs: isolate.dog.hangs }),
    kill: () => isolate.kill(),
  };
}

/** A process spins on nothing, and its requests are in a pipe that tells nothing of itself. */
function processMember(process: Hosted): Member {
  return {
    id: `pid ${process.id}`,
    tids: () => process.pid > 0 ? treeThreads(process.pid) : [], // bubblewrap has it as a child
    moved() {},
    spin() {},
    queue: () => undefined,
    watchdog: (vigil, told) => process.dog.set(vigil, told),
    onWork: (told) => process.onWork = told,
    counters: () => ({ beats: process.beats(), hangs: process.dog.hangs }),
    kill: () => process.kill(),
  };
}
