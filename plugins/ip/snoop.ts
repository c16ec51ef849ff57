/**
 * Snoop files: a capture of what a conversation or an interface sends and receives, for tcpdump and Wireshark.
 *
 * Layer: plugins/ip, over devices/pcap.ts. What holds always: nothing is looked at while nobody reads; a reader who lags
 * loses the newest, for a wire does not wait.
 */

import type { Clock } from "../../core/clock.ts";
import type { Req } from "../../core/dev.ts";
import { PLAIN } from "../../core/link.ts";
import type { Handle } from "../../core/tree_node.ts";
import { pcapFrame, pcapHeader } from "../../devices/pcap.ts";
import { type Ip, ipFromV4, isUnspecified, sameIp } from "../../net/addr.ts";
import { get16, get32 } from "../../net/wire/packet.ts";
import type { Watch } from "./conv.ts";
import type { Net } from "./net.ts";
import { Waiters } from "./waiters.ts";

/** Bytes that wait for one reader. */
const QUEUE_BYTES = 4 << 20;
const NOTHING = new Uint8Array(0);

/** Whose packets are wanted; zeros stand for any. */
interface Ends {
  local: Ip;
  remote?: Ip;
  localPort?: number;
  port?: number;
  remotePort?: number;
}

/** Shows the packets of a protocol's conversation; `ends` says whose at the time. */
export function watchPackets(net: Net, proto: number, ends: () => Ends | undefined): Watch {
  return (see) =>
    net.observe((_iface, isOut, bytes, at, end) => {
      const wanted = ends();
      if (wanted !== undefined && matches(bytes, at, end, proto, isOut, wanted)) see(bytes, at, end);
    });
}

/** An open snoop file: a capture from now on. */
export function openSnoop(watch: Watch, clock: Clock): Handle {
  const readers = new Waiters();
  const queue: Uint8Array[] = [pcapHeader("ip")];
  let waiting = 0, skip = 0;
  const stop = watch((bytes, at, end) => {
    if (waiting > QUEUE_BYTES) return;
    const record = pcapFrame(bytes, at, end, PLAIN, clock.now());
    queue.push(record);
    waiting += record.length;
    readers.wake();
  });
  const take = (length: number): Uint8Array | undefined => {
    if (queue.length === 0) return undefined;
    const dst = new Uint8Array(length);
    let done = 0;
    while (queue.length > 0 && done < length) {
      const part = queue[0].subarray(skip, skip + length - done);
      dst.set(part, done);
      done += part.length;
      skip += part.length;
      if (skip < queue[0].length) break;
      waiting -= queue.shift()!.length;
      skip = 0;
    }
    return dst.subarray(0, done);
  };
  return {
    read(dst: Uint8Array, _offset: number, req: Req) {
      if (dst.length === 0) return 0;
      return take(dst.length) ?? readers.wait(req, () => take(dst.length));
    },
    close() {
      stop();
      for (; readers.count > 0;) {
        queue.push(NOTHING);
        readers.wake();
      }
    },
  };
}

/** Whether a packet is of a conversation. */
function matches(
  bytes: Uint8Array,
  at: number,
  end: number,
  proto: number,
  isOut: boolean,
  { local, remote, localPort, port = localPort ?? 0, remotePort = 0 }: Ends,
): boolean {
  const v4 = bytes[at] >>> 4 === 4, head = v4 ? (bytes[at] & 15) * 4 : 40;
  if (end - at < head + 4 || bytes[at + (v4 ? 9 : 6)] !== proto) return false;
  const src = v4 ? ipFromV4(get32(bytes, at + 12)) : bytes.subarray(at + 8, at + 24);
  const dst = v4 ? ipFromV4(get32(bytes, at + 16)) : bytes.subarray(at + 24, at + 40);
  const is = (wanted: Ip | undefined, ip: Ip) => wanted === undefined || isUnspecified(wanted) || sameIp(wanted, ip);
  if (!is(local, isOut ? src : dst) || !is(remote, isOut ? dst : src)) return false;
  const ours = get16(bytes, at + head + (isOut ? 0 : 2)), theirs = get16(bytes, at + head + (isOut ? 2 : 0));
  return (port === 0 || port === ours) && (remotePort === 0 || remotePort === theirs);
}
