/**
 * The conformance suite of 9P: what version(5) to clunk(5) and diod's protocol.md ask of a server, a test each.
 *
 * It runs over any server of an empty, writable tree, at any distance: in this isolate, behind a ring, over a socket.
 */

import { RawPeer } from "./raw_peer.ts";
import { frameTests, versionTests, walkTests } from "./p9_suite_connection.ts";
import { changeTests, directoryTests, openTests, readWriteTests } from "./p9_suite_files.ts";
import { linuxTests } from "./p9_suite_linux.ts";
import type { Each, Fresh, MakeSubject } from "./p9_suite_steps.ts";

/** Registers the suite's tests for one server. */
export function p9Conformance(name: string, make: MakeSubject): void {
  const each: Each = (dialects, what, body) => {
    for (const dialect of dialects) {
      Deno.test(`${name}: ${dialect}: ${what}`, async () => {
        const subject = await make();
        const peer = await RawPeer.open(await subject.connect(), dialect, subject);
        try {
          await body(peer, subject);
        } finally {
          peer.close();
          await subject.close();
        }
      });
    }
  };
  const fresh: Fresh = (what, body) => {
    Deno.test(`${name}: ${what}`, async () => {
      const subject = await make();
      const peer = new RawPeer(await subject.connect());
      try {
        await body(peer, subject);
      } finally {
        peer.close();
        await subject.close();
      }
    });
  };
  versionTests(fresh, each);
  walkTests(each);
  openTests(each);
  readWriteTests(each);
  directoryTests(each);
  changeTests(each);
  linuxTests(each);
  frameTests(fresh, each);
}
