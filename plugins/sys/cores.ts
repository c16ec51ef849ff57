/**
 * /sys/cores: which core is whose, as files; and what /sys/plugins/NAME says and takes of cores.
 *
 * Layer: plugins/sys, over the kernel's core control; it keeps nothing but the readers of `event`.
 */

import { ctl, type Described, dir, dynamic, Err, event, type Req } from "../../core/plugin/author.ts";
import type { Kernel } from "../../core/kernel.ts";
import type { ClientState, CoreControl } from "../../core/sched/control.ts";
import type { Shield } from "../../core/sched/core_host.ts";
import { formatCpus, parseCpus } from "../../core/sched/cpulist.ts";
import { clientCounters } from "../../core/sched/metrics.ts";
import {
  type CoreSettings,
  parseSetting,
  parseSettings,
  SETTING_HELP,
  SETTING_KEYS,
  settingText,
} from "../../core/sched/settings.ts";

/** Throws when who asks may not change anything. */
export type May = (req: Req) => void;

const OWNER_WRITES = 0o644;

/** The directory. */
export function coresDir(kernel: Kernel, may: May): Described {
  const control = () => controlOf(kernel);
  const events = event();
  let listening = false;
  const fixed: Record<string, Described> = {
    ctl: coresCtl(kernel, may),
    status: () => statusText(control()),
    stats: () => control().table.cores().map(({ cpu }) => `${cpu} ${pairs(coreStats(control(), cpu), " ")}\n`).join(""),
    topology: () => control().table.topology.text(),
    event: events,
  };
  return dynamic({
    list: () => [...Object.keys(fixed), ...control().table.topology.cpus.map(String)],
    get(name) {
      if (name === "event" && !listening) {
        control().listeners.add((text) => events.post(`${text}\n`));
        listening = true;
      }
      if (Object.hasOwn(fixed, name)) return fixed[name];
      const cpu = /^(0|[1-9]\d{0,3})$/.test(name) ? Number(name) : -1;
      return control().table.topology.has(cpu) ? coreDir(kernel, cpu, may) : undefined;
    },
  });
}

function coresCtl(kernel: Kernel, may: May): Described {
  const doing = (req: Req) => (may(req), controlOf(kernel));
  return ctl({
    "host list": {
      help: "cores that are never given: the kernel and the runtime's helper threads run there",
      run: (list, req) => doing(req).table.setHost(parseCpus(list)),
    },
    "allocator policy": {
      help: "which of the free cores one is given: fcfs or packed",
      run: (policy, req) => doing(req).useAllocator(policy),
    },
    "shield against:off|session|user|host": {
      help: "keeps other processes of this session, of this user, or all off dedicated cores too (root, cgroup v1)",
      run: (against, req) => doing(req).host.shield(against as Shield),
    },
    "set name words...": {
      help: `key value ...: ${SETTING_KEYS.join(" ")}`,
      run: (name, words, req) => doing(req).set(name, parseSettings(words)),
    },
    "provision cpu:int name": {
      help: "promises a core to a plugin",
      run: (cpu, name, req) => doing(req).provision(cpu, name),
    },
    "unprovision cpu:int": { help: "to nobody any more", run: (cpu, req) => doing(req).provision(cpu, null) },
    "yield name [cpu:int]": {
      help: "takes a core from a plugin, which wants one less from then on",
      run: (name, cpu, req) => doing(req).yield(name, cpu),
    },
    "kill name": { help: "kills what runs for a plugin", run: (name, req) => doing(req).kill(name) },
  }, { mode: OWNER_WRITES });
}

function coreDir(kernel: Kernel, cpu: number, may: May): Described {
  const control = () => controlOf(kernel);
  const doing = (req: Req) => (may(req), control());
  return dir({
    ctl: ctl({
      "provision name": { help: "promises it to a plugin", run: (name, req) => doing(req).provision(cpu, name) },
      "unprovision": { help: "to nobody any more", run: (req) => doing(req).provision(cpu, null) },
      "yield": {
        help: "takes it from the plugin that has it, which wants one core less from then on",
        run(req) {
          const { allocated } = doing(req).table.core(cpu);
          if (allocated === undefined) throw new Err("EINVAL", `core ${cpu} is nobody's alone`);
          control().yield(allocated, cpu);
        },
      },
    }, { mode: OWNER_WRITES }),
    status() {
      const { state, provisioned = "-", allocated = "-", lent } = control().table.core(cpu);
      const runs = control().clients().filter((c) => parseCpus(c.cpus).includes(cpu)).map((c) => c.name);
      const siblings = formatCpus(control().table.topology.siblings(cpu));
      return pairs({ state, provisioned, allocated, lent: Number(lent), siblings, runs: runs.join(" ") || "-" }, "\n") +
        "\n";
    },
    stats: () => pairs(coreStats(control(), cpu), "\n") + "\n",
  });
}

/** Commands of /sys/plugins/NAME/ctl about cores. */
export function coreCommands(kernel: Kernel, name: string, may: May) {
  const doing = (req: Req) => (may(req), controlOf(kernel));
  const setting = (key: keyof CoreSettings) => ({
    help: SETTING_HELP[key][1],
    run: (value: string, req: Req) => doing(req).set(name, parseSetting(key, value)),
  });
  return {
    "cores n": setting("cores"),
    "guaranteed n": setting("guaranteed"),
    "want n": setting("want"),
    "wired list": setting("wired"),
    "siblings how": setting("siblings"),
    "pin list": setting("pin"),
    "move list": { ...setting("pin"), help: "as pin" },
    "priority which": setting("priority"),
    "quantum us": setting("quantum"),
    "spinning looks": setting("spinning"),
    "qdelay us": setting("qdelay"),
    "lend ms": setting("lend"),
    "warn ms": setting("warn"),
    "watchdog ms": setting("watchdog"),
    "hang how": setting("hang"),
    "yield [cpu:int]": {
      help: "takes a core from it; it wants one less from then on",
      run: (cpu: number | undefined, req: Req) => doing(req).yield(name, cpu),
    },
    "kill": {
      help: "kills it; it is started again as its restart policy says",
      run: (req: Req) => doing(req).kill(name),
    },
  };
}

/** /sys/plugins/NAME/cores: its settings, and what came of them. */
export function pluginCores(kernel: Kernel, name: string): string {
  const control = controlOf(kernel);
  if (!control.has(name)) return "runs on the kernel's cores\n";
  const state = control.client(name), { settings, row } = state;
  const set = SETTING_KEYS.map((key) => [key, settingText(settings, key)]);
  return pairs({
    ...Object.fromEntries(set),
    wants: row.want,
    provisioned: formatCpus(row.provisioned) || "-",
    allocated: formatCpus(row.allocated) || "-",
    on: state.cpus,
    lent: Number(state.lent),
    moves: state.moves,
    delay: `${(state.delayMs * 1000).toFixed(0)} us`,
    congested: state.congested,
    relief: state.relief || "-",
    unmet: row.unmet || "-",
  }, "\n") + "\n";
}

/** Counters of what runs for a plugin; none for one in the kernel. */
export function pluginCounters(kernel: Kernel, name: string): Record<string, number> {
  const { cores } = kernel;
  return cores?.has(name) ? clientCounters(cores, cores.client(name)) : {};
}

function statusText(control: CoreControl): string {
  const { table, host, problems } = control;
  const head = host.status() + `allocator ${table.allocator.name}\nhost ${formatCpus(table.host)}\n` +
    `shared ${formatCpus(table.shared)}\nproblems ${problems || "-"}\n`;
  const cores = table.cores().map(({ cpu, state, provisioned = "-", allocated = "-", lent }) =>
    `core ${cpu} ${state} provisioned ${provisioned} allocated ${allocated}${lent ? " lent" : ""}\n`
  );
  return head + cores.join("") + control.clients().map(clientLine).join("");
}

function clientLine({ name, row, settings, cpus }: ClientState): string {
  const { cores, guaranteed, want, unmet } = row;
  const counts = `cores ${cores} guaranteed ${guaranteed} want ${want} allocated ${formatCpus(row.allocated) || "-"}`;
  return `client ${name} ${settings.priority} ${counts} on ${cpus || "-"}${unmet ? ` unmet ${unmet}` : ""}\n`;
}

function coreStats(control: CoreControl, cpu: number): Record<string, string | number> {
  const { grants, revocations, forced } = control.table.core(cpu);
  const times = Object.entries(control.host.cpuCounters(cpu)).map(([mode, s]) => [mode, s.toFixed(2)]);
  return { grants, revocations, forced, ...Object.fromEntries(times) };
}

function pairs(all: Record<string, string | number>, between: string): string {
  return Object.entries(all).map(([key, value]) => `${key} ${value}`).join(between);
}

function controlOf(kernel: Kernel): CoreControl {
  if (!kernel.cores) throw new Err("EOPNOTSUPP", "nobody moves threads in this system");
  return kernel.cores;
}
