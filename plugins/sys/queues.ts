/**
 * /sys/queues: the hardware queues and their owners, as files: a directory a queue, below those of its name's words.
 *
 * Layer: plugins/sys, over the kernel's queue table. What is claimed here is held for a name until it is released here,
 * or taken away.
 */

import { ctl, type Described, dir, dynamic, Err, file, type Req } from "../../core/plugin/author.ts";
import type { Kernel } from "../../core/kernel.ts";
import type { Claim, QueueRow } from "../../core/queues.ts";
import type { May } from "./cores.ts";

const OWNER_WRITES = 0o644;
/** How long an owner has to quiesce at the most, milliseconds. */
const MAX_DEADLINE_MS = 60_000;

/** The directory. */
export function queuesDir(kernel: Kernel, may: May): Described {
  const fixed: Record<string, Described> = {
    ctl: queuesCtl(kernel, may),
    status: () => kernel.queues.status(),
    stats: () => kernel.queues.stats(),
  };
  return dynamic({
    list: () => [...Object.keys(fixed), ...below(kernel, "")],
    get: (name) => Object.hasOwn(fixed, name) ? fixed[name] : at(kernel, name, may),
  });
}

/** A queue, or the directory of those whose names begin so. */
function at(kernel: Kernel, name: string, may: May): Described | undefined {
  if (kernel.queues.rows().some((row) => row.name === name)) return queueDir(kernel, name, may);
  if (below(kernel, `${name}/`).length === 0) return undefined;
  return dynamic({ list: () => below(kernel, `${name}/`), get: (word) => at(kernel, `${name}/${word}`, may) });
}

/** The next words of the names that begin so. */
function below(kernel: Kernel, prefix: string): string[] {
  const names = kernel.queues.rows().map((row) => row.name).filter((name) => name.startsWith(prefix));
  return [...new Set(names.map((name) => name.slice(prefix.length).split("/")[0]))];
}

function queuesCtl(kernel: Kernel, may: May): Described {
  const claims = new Map<string, Claim>();
  const doing = (req: Req) => (may(req), kernel.queues);
  return ctl({
    "claim queue owner": {
      help: "claims a queue for a name that is not a plugin's",
      run: (queue, owner, req) => void claims.set(queue, doing(req).claim(queue, { owner })),
    },
    "release queue": {
      help: "gives back what was claimed here",
      run(queue, req) {
        may(req);
        const claim = claims.get(queue);
        if (!claim?.valid) throw new Err("EINVAL", `queue ${queue} was not claimed here`);
        claims.delete(queue);
        claim.release();
      },
    },
    "revoke queue [ms:0..60000]": {
      help: "takes a queue from its owner, who has so long to quiesce",
      run: async (queue, ms, req) =>
        void await doing(req).revoke(queue, { deadlineMs: ms, reason: `revoked by ${req.user.name}` }),
    },
    "handover queue owner [ms:0..60000]": {
      help: "takes a queue from its owner and keeps it, with what was under way, for another's claim; - for anybody's",
      run: (queue, owner, ms, req) => handOver(kernel, { queue, owner, ms }, doing(req) && req),
    },
  }, { mode: OWNER_WRITES });
}

function handOver(
  kernel: Kernel,
  { queue, owner, ms = 2000 }: { queue: string; owner: string; ms?: number },
  req: Req,
): Promise<void> {
  const reason = `handed over by ${req.user.name}`;
  return kernel.queues.handOver(queue, owner === "-" ? null : owner, {
    reason,
    deadlineMs: Math.min(ms, MAX_DEADLINE_MS),
  });
}

function queueDir(kernel: Kernel, name: string, may: May): Described {
  const row = (): QueueRow => {
    const found = kernel.queues.rows().find((r) => r.name === name);
    if (!found) throw new Err("ENOENT", `there is no queue ${name} any more`);
    return found;
  };
  return dir({
    owner: file({
      mode: OWNER_WRITES,
      read: () => `${row().owner ?? "-"}\n`,
      message(text, req) {
        may(req);
        const owner = text.trim();
        if (!/^\S+$/.test(owner)) throw new Err("EINVAL", "wanted the name of the next owner, or -");
        return handOver(kernel, { queue: name, owner }, req);
      },
    }),
    status() {
      const { kind, state, owner = "-", generation } = row();
      return lines({ name, kind, state, owner, generation });
    },
    stats: () => lines(kernel.queues.counters(name)),
  });
}

function lines(all: Record<string, string | number>): string {
  return Object.entries(all).map(([key, value]) => `${key} ${value}\n`).join("");
}
