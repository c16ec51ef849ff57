/**
 * env: environment variables as files: of the proc that looks, its own group's.
 *
 * Layer: a plugin, inline, with the kernel. A request that no proc made, as from a mounted client, sees the first
 * proc's variables, if it is the hostowner's. The manual page is env.md. See env(3) of Plan 9.
 */

import {
  definePlugin,
  dynamic,
  Err,
  FileNode,
  type Handle,
  type Opening,
  type Req,
  tree,
} from "../../core/plugin/author.ts";
import { DMDIR, OTRUNC, OWRITE } from "../../core/plugin/author.ts";
import { type Egrp, MAX_VARIABLE_BYTES, type Variable } from "../../core/egrp.ts";
import type { Kernel } from "../../core/kernel.ts";
import { ProcReq } from "../../core/proc_files.ts";
import { isPrivileged } from "../../core/users.ts";

export default definePlugin({
  start(ctx) {
    const kernel = ctx.kernel as Kernel | undefined;
    if (!kernel) throw new Err("EPERM", "env needs the kernel: place it inline, with permissions.kernel");
    const nodes = new WeakMap<Variable, VariableFile>();
    const nodeOf = (group: Egrp, variable: Variable) => {
      let node = nodes.get(variable);
      if (!node) nodes.set(variable, node = new VariableFile(group, variable));
      return node;
    };
    const root = dynamic({
      mode: 0o777,
      list: (req) => groupOf(kernel, req).variables.keys(),
      get(name, req) {
        const group = groupOf(kernel, req), variable = group.variables.get(name);
        return variable && nodeOf(group, variable);
      },
      create(what, _user, req) {
        if (what.perm & DMDIR) throw new Err("EPERM", "the environment has no directories");
        const group = groupOf(kernel, req);
        return nodeOf(group, group.add(what.name, ctx.clock.now()));
      },
      remove: (name, req) => groupOf(kernel, req).remove(name),
    });
    return tree(root, ctx);
  },
});

/** The variables of whoever asks. */
function groupOf(kernel: Kernel, req: Req): Egrp {
  if (req instanceof ProcReq) return req.proc.env;
  const first = kernel.procs.get(1);
  if (!first) throw new Err("ESRCH", "there is no process whose environment this could be");
  if (!isPrivileged(req.user, kernel.hostowner.name)) {
    throw new Err("EACCES", `the environment is ${kernel.hostowner.name}'s, not ${req.user.name}'s`);
  }
  return first.env;
}

/** One variable: its bytes as they are. */
class VariableFile extends FileNode {
  readonly #group: Egrp;
  readonly #variable: Variable;

  constructor(group: Egrp, variable: Variable) {
    super({}, 0o666);
    this.#group = group;
    this.#variable = variable;
  }

  override length(): number {
    return this.#variable.value.length;
  }

  override open(how: Opening): Handle {
    const group = this.#group, variable = this.#variable;
    if (how.mode & OTRUNC) group.change(variable, new Uint8Array(), how.now());
    const handle: Handle = {};
    if ((how.mode & 3) !== OWRITE) {
      handle.read = (dst, offset) => {
        const part = variable.value.subarray(offset, offset + dst.length);
        dst.set(part);
        return part.length;
      };
    }
    const access = how.mode & 3;
    if (access === OWRITE || access === 2) {
      handle.write = (data, offset) => {
        if (offset + data.length > MAX_VARIABLE_BYTES) throw new Err("EFBIG");
        const value = new Uint8Array(Math.max(variable.value.length, offset + data.length));
        value.set(variable.value);
        value.set(data, offset);
        group.change(variable, value, how.now());
        return data.length;
      };
    }
    return handle;
  }
}
