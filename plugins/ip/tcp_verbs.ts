/**
 * What can be written to `/net/tcp/N/ctl`.
 *
 * Layer: plugins/ip, a table beside tcp.ts.
 *
 * See ip(3) of Plan 9 (tcp); `shutdown` is Akaros', `nodelay`, `cc`, `sndbuf`, `rcvbuf`, `backlog` and `nonblocking` are this system's.
 */

import { Err } from "../../core/err.ts";
import { CC_NAMES, isCcName } from "../../net/tcp/cc/algorithms.ts";
import { badUsage, boolOf, intOf, quote, type Verbs } from "./command.ts";
import { COMMON_VERBS } from "./conv.ts";
import type { TcpConv } from "./tcp.ts";

/** Plan 9's, when no time is given. */
const KEEPALIVE_MS = 30_000;
const MIN_BUFFER = 2048, MAX_BUFFER = 64 << 20, MAX_BACKLOG = 65_535;

export const TCP_VERBS: Verbs<TcpConv> = {
  connect: { usage: "addr!port[!r] [[addr!]port]", run: (conv, words, req) => conv.connect(words, req) },
  announce: { usage: "[addr!]port", run: (conv, [word]) => conv.announce(word) },
  bind: { usage: "[addr!]port", run: (conv, [word]) => conv.bind(word) },
  hangup: { usage: "", run: (conv) => conv.hangup() },
  // A call is answered by TCP itself; programs that come from other networks say it all the same.
  accept: { usage: "[number]", run: () => {} },
  reject: { usage: "[number] why...", run: (conv) => conv.hangup() },
  shutdown: {
    usage: "rd|wr|rdwr",
    run(conv, [how]) {
      if (how !== "rd" && how !== "wr" && how !== "rdwr") throw badUsage("shutdown", TCP_VERBS.shutdown);
      conv.shutdown(how);
    },
  },
  keepalive: {
    usage: "[ms|off]",
    run: (conv, [ms = String(KEEPALIVE_MS)]) =>
      conv.set({ keepaliveMs: ms === "off" ? undefined : intOf(ms, 1, 0x7fffffff) }),
  },
  nodelay: {
    usage: "[on|off]",
    run: (conv, [flag]) => conv.set({ nodelay: boolOf(flag) }),
  },
  cc: {
    usage: CC_NAMES.join("|"),
    run(conv, [word]) {
      const name = word === "newreno" ? "reno" : word;
      if (!isCcName(name)) throw new Err("EINVAL", `${quote(word)} is no algorithm: ${CC_NAMES.join(" ")}`);
      conv.set({ congestion: name });
    },
  },
  ttl: {
    usage: "n",
    run: (conv, [n]) => conv.set({ ttl: intOf(n, 1, 255) }),
  },
  tos: {
    usage: "n",
    run: (conv, [n]) => conv.set({ tos: intOf(n, 0, 255) }),
  },
  sndbuf: {
    usage: "bytes",
    run: (conv, [bytes]) => conv.set({ sendBytes: intOf(bytes, MIN_BUFFER, MAX_BUFFER) }),
  },
  rcvbuf: {
    usage: "bytes",
    run: (conv, [bytes]) => conv.set({ recvBytes: intOf(bytes, MIN_BUFFER, MAX_BUFFER) }),
  },
  backlog: { usage: "calls", run: (conv, [n]) => conv.set({ backlog: intOf(n, 1, MAX_BACKLOG) }) },
  checksum: {
    usage: "1",
    run(_conv, [n]) {
      if (n !== "1") throw new Err("EOPNOTSUPP", "segments always have a checksum");
    },
  },
  ignoreadvice: {
    usage: "",
    // What ICMP says is an advice to TCP anyway (RFC 5461), once there is a connection.
    run: () => {},
  },
  ...COMMON_VERBS,
};
