import assert from "node:assert/strict";
import { controlFrame, DATA, Deframer, FRAME_HEADER, putHeader } from "./frames.ts";

function dataFrame(bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER + bytes.length);
  putHeader(frame, DATA, bytes.length);
  frame.set(bytes, FRAME_HEADER);
  return frame;
}

/** What comes out of frames that come in pieces of `step` bytes: words of control, and the bytes of data. */
function deframe(wire: Uint8Array, step: number): { control: unknown[]; data: number[] } {
  const deframer = new Deframer(), control: unknown[] = [], data: number[] = [];
  for (let at = 0; at < wire.length; at += step) {
    for (const piece of deframer.push(wire.subarray(at, at + step))) {
      if ("control" in piece) control.push(piece.control);
      else data.push(...piece.data);
    }
  }
  return { control, data };
}

Deno.test("frames come out whole however the pipe cuts them", () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, i) => i);
  const frames = [controlFrame("stop"), dataFrame(bytes), controlFrame({ t: "log", text: "ä\n" }), dataFrame(bytes)];
  const wire = Uint8Array.from(frames.flatMap((frame) => [...frame]));
  for (let step = 1; step <= wire.length; step++) {
    const { control, data } = deframe(wire, step);
    assert.deepEqual(control, ["stop", { t: "log", text: "ä\n" }]);
    assert.deepEqual(data, [...bytes, ...bytes]);
  }
});

Deno.test("what is no frame is refused: kind, length, text", () => {
  const bad = [[7, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0xff, 0xff, 0xff, 0xff], [0, 1, 0, 0, 0, 0x7b]];
  for (const bytes of bad) {
    assert.throws(() => deframe(Uint8Array.from(bytes), 64), { code: "EPROTO" });
  }
});
