/**
 * The files beside the protocols: arp, iproute, ipselftab, ndb, log, stats, cs, dns.
 *
 * Layer: plugins/ip, over net/ip/text.ts and net/ip/ctl.ts. Everybody reads, the hostowner writes; cs and dns are asked by
 * writing, and are everybody's.
 *
 * See ip(3), ndb(8) of Plan 9.
 */

import type { Req } from "../../core/dev.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { file, raw } from "../../core/tree_file.ts";
import { bytesOf, copyAt, type FileNode, then } from "../../core/tree_node.ts";
import { arpCtl, routeCtl } from "../../net/ip/ctl.ts";
import { formatArp, formatRoutes, formatSelftab } from "../../net/ip/text.ts";
import { linesOf } from "./command.ts";
import type { Proto } from "./conv.ts";
import type { Names } from "./names.ts";
import type { Net } from "./net.ts";

/** Everybody reads, the hostowner writes. */
const OWNER_WRITES = 0o644, EVERYBODY = 0o666;

/** The files of a stack. */
export function topFiles(net: Net, names: Names, protos: readonly Proto[]): Map<string, FileNode> {
  const { ip } = net.stack;
  const arp = file({
    mode: OWNER_WRITES,
    read: () => formatArp(ip),
    message: (text) => commands(net, text, (line) => arpCtl(ip, line)),
  });
  return new Map([
    ["arp", arp],
    ["iproute", routes(net)],
    ["ipselftab", file({ read: () => formatSelftab(ip) })],
    ["log", net.log.file],
    ["stats", statsFile(protos)],
    ...nameFiles(names),
  ]);
}

/** Those that a system without a stack of its own has, too. */
export function nameFiles(names: Names): [string, FileNode][] {
  const ndb = file({ mode: OWNER_WRITES, read: () => names.text, write: (text) => names.set(text) });
  return [
    ["ndb", ndb],
    ["cs", queryFile((query, req) => names.translate(query, req))],
    ["dns", queryFile((query, req) => names.query(query, req))],
  ];
}

/** Every protocol's counters, with its name in front. */
export function statsFile(protos: readonly Proto[]): FileNode {
  return file({
    read: () => protos.map(({ name, stats }) => stats.replace(/^(?=.)/gm, `${name} `)).join(""),
  });
}

/** Each that has the file open has a tag of its own. */
function routes(net: Net): FileNode {
  const { ip } = net.stack;
  return raw({
    mode: OWNER_WRITES,
    open() {
      let tag = "none", text = new Uint8Array(0);
      return {
        read(dst, offset) {
          if (offset === 0) text = bytesOf(formatRoutes(ip)).slice();
          return copyAt(text, dst, offset);
        },
        write(data) {
          commands(net, new TextDecoder().decode(data), (line) => void (tag = routeCtl(ip, line, tag)));
          return data.length;
        },
      };
    },
  });
}

function commands(net: Net, text: string, run: (line: string) => void): void {
  net.stack.ip.at(net.runner.tick());
  try {
    for (const line of linesOf(bytesOf(text))) run(line);
  } finally {
    net.runner.kick();
  }
}

/**
 * A file that is asked by a write, and answers a line a read; at offset 0 from the first line on. Each who has it open has
 * answers of his own.
 */
function queryFile(ask: (query: string, req: Req) => MaybePromise<string[]>): FileNode {
  return raw({
    mode: EVERYBODY,
    open() {
      let lines: string[] = [], next = 0;
      return {
        read(dst, offset) {
          if (offset === 0) next = 0;
          return next < lines.length ? copyAt(bytesOf(`${lines[next++]}\n`), dst, 0) : 0;
        },
        write(data, _offset, req) {
          lines = [];
          next = 0;
          const { length } = data;
          return then(ask(new TextDecoder().decode(data).trim(), req), (answer) => {
            lines = answer;
            return length;
          });
        },
      };
    },
  });
}
