import assert from "node:assert/strict";
import { formatDial, isLoopback, parseDial } from "./dial.ts";
import { Err } from "../err.ts";

Deno.test("parseDial reads each network, and formatDial gives the string back", () => {
  assert.deepEqual(parseDial("tcp!10.0.0.1!5640"), { net: "tcp", host: "10.0.0.1", port: 5640 });
  assert.deepEqual(parseDial("tcp!::1!9fs"), { net: "tcp", host: "::1", port: 564 });
  assert.deepEqual(parseDial("tcp!fileserver"), { net: "tcp", host: "fileserver", port: 564 });
  assert.deepEqual(parseDial("unix!/run/a!b"), { net: "unix", path: "/run/a!b" });
  assert.deepEqual(parseDial("ws!wss://h:1/p?q=a!b"), { net: "ws", url: "wss://h:1/p?q=a!b" });
  for (const text of ["tcp!h!1", "unix!/a b", "ws!ws://h/x"]) assert.equal(formatDial(parseDial(text)), text);
});

Deno.test("parseDial says what to write instead", () => {
  const cases: [string, RegExp][] = [
    ["/run/9p", /write unix!\/run\/9p/],
    ["localhost:564", /write tcp!localhost!564/],
    ["[::1]:564", /write tcp!::1!564/],
    ["ws://h/9p", /write ws!ws:\/\/h\/9p/],
    ["", /a dial string is tcp!/],
    ["udp!h!1", /network 'udp' is unknown/],
    ["tcp!!564", /host is missing/],
    ["tcp!h!99999", /no port/],
    ["tcp!h!-1", /no port/],
    ["tcp!a b!1", /no host name/],
    ["unix!", /path of the socket is missing/],
    ["ws!nowhere", /is no URL/],
    ["ws!http://h/", /must start with ws:/],
  ];
  for (const [text, why] of cases) {
    assert.throws(
      () => parseDial(text),
      (e: unknown) => e instanceof Err && e.code === "EINVAL" && why.test(e.message),
    );
  }
});

Deno.test("isLoopback knows what leaves the machine", () => {
  for (const text of ["unix!/x", "tcp!127.0.0.1!1", "tcp!::1!1", "tcp!localhost!1", "ws!ws://[::1]:8/"]) {
    assert.ok(isLoopback(parseDial(text)), text);
  }
  for (const text of ["tcp!0.0.0.0!1", "tcp!127.example.com!1", "tcp!::!1", "ws!ws://localhost.example/"]) {
    assert.ok(!isLoopback(parseDial(text)), text);
  }
});
