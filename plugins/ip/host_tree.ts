/**
 * HostTree: /net on the host's own sockets, for a system that has no device: tcp, udp, and names by the host's resolver.
 *
 * Layer: plugins/ip, over devices/hostsock.ts; host_tcp.ts and host_udp.ts are its conversations.
 */

import type { Ctx } from "../../core/plugin/author.ts";
import { Err } from "../../core/err.ts";
import type { Req } from "../../core/dev.ts";
import type { FileNode } from "../../core/tree_node.ts";
import { hostSockets } from "../../devices/hostsock.ts";
import { formatIp, type Ip, isIpv4, parseIp } from "../../net/addr.ts";
import { parseDnsQuery } from "../../net/dns/format.ts";
import { DNS_TYPE } from "../../net/dns/record.ts";
import type { Proto } from "./conv.ts";
import type { IpTree } from "./dev.ts";
import { HostTcpProto } from "./host_tcp.ts";
import { HostUdpProto } from "./host_udp.ts";
import { type DnsService, Names } from "./names.ts";
import { type IpOptions, ndbOfOptions } from "./options.ts";
import { nameFiles, statsFile } from "./top.ts";

/** See the head of this file. */
export class HostTree implements IpTree {
  readonly number = 0;
  readonly protos: readonly Proto[];
  readonly tops: ReadonlyMap<string, FileNode>;

  constructor(ctx: Ctx, options: IpOptions) {
    const hostname = options.hostname || ctx.sysname, { netdir, hostListen } = options;
    const names = new Names({
      netdir,
      protocols: ["tcp", "udp"],
      self: () => ({ ip: parseIp("127.0.0.1"), sys: hostname }),
      local: ndbOfOptions({ ...options, hostname }, []),
      dns: new HostDns(),
    });
    this.protos = [new HostTcpProto(hostSockets, hostListen), new HostUdpProto(hostSockets, hostListen)];
    this.tops = new Map([["stats", statsFile(this.protos)], ...nameFiles(names)]);
    ctx.defer(() => this.protos.forEach((proto) => [...proto.convs()].forEach((conv) => conv.close())));
  }
}

/** Names by the host's resolver, which tells addresses and nothing else. */
class HostDns implements DnsService {
  async query(text: string, _req: Req): Promise<string[]> {
    const asked = parseDnsQuery(text);
    if (typeof asked === "string") throw new Err("EINVAL", `dns: ${asked}`);
    const { name, type, attributes } = asked, v4 = type === DNS_TYPE.A;
    if (!v4 && type !== DNS_TYPE.AAAA) {
      throw new Err("EOPNOTSUPP", "dns: the host's resolver is asked for addresses only");
    }
    const found = (await this.addresses(name)).filter((ip) => isIpv4(ip) === v4).map(formatIp);
    if (found.length === 0) throw new Err("ENOENT", `dns: ${name}: resource does not exist`);
    const attr = v4 ? "ip" : "ipv6";
    return found.map((ip) => attributes ? `dom=${name} ${attr}=${ip}` : `${name} ${attr}\t${ip}`);
  }

  async addresses(name: string): Promise<readonly Ip[]> {
    return (await hostSockets.lookup(name)).flatMap((text) => parseIp(text) ?? []);
  }

  configure(): void {}

  refresh(): void {}
}
