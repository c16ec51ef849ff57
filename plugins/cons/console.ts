/**
 * Console: one terminal for any number of readers and writers.
 *
 * Layer: plugins/cons, pure: the terminal is a port that is handed in, so it can be the host's, one in another
 * isolate, or none. What holds always: a typed line goes to one reader, the one that has waited longest; a write goes
 * to the terminal in one piece, after those before it.
 *
 * See cons(3) of Plan 9.
 */

import type { Req } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { LineEditor, MAX_LINE_BYTES } from "./line.ts";

/** A terminal. */
export interface ConsPort {
  /** Whether it edits lines and echoes on its own, unless it is set raw. */
  readonly edits: boolean;
  /** Shows bytes; they are the terminal's from then on. */
  write(bytes: Uint8Array): MaybePromise<void>;
  /** Calls `listener` with what is typed: no bytes are a typed end of file, null is the end of the terminal. */
  onInput(listener: (bytes: Uint8Array | null) => void): void;
  /** Whether keys come one by one, with no echo. */
  setRaw(raw: boolean): void;
}

/** What a console is made with. */
export interface ConsoleOptions {
  /** The terminal; null when there is none: nothing is ever typed. */
  port: ConsPort | null;
  /** Where lines go that are written when there is no terminal. */
  log(line: string): void;
  /** ^C was typed. */
  onNote?(note: string): void;
}

interface Reader {
  count: number;
  resolve(bytes: Uint8Array): void;
}

/** Bytes that wait to be read at the most; more is dropped, and the bell rings. */
export const MAX_INPUT_BYTES = 65_536;
const NEWLINE = 0x0a;
const BELL = Uint8Array.of(0x07);
const NOTHING = new Uint8Array(0);

export class Console {
  readonly #options: ConsoleOptions;
  readonly #editor: LineEditor;
  /** Lines that wait for a reader, or keys when raw; one without bytes is an end of file. */
  #input: Uint8Array[] = [];
  #inputBytes = 0;
  #readers: Reader[] = [];
  #listening = false;
  #ended = false;
  #raw = false;
  #hold = false;
  #ctls = 0;
  /** Of a line that came in pieces from a terminal that edits. */
  #partial = NOTHING;
  #output: Promise<void> | undefined;
  #logged = "";

  constructor(options: ConsoleOptions) {
    this.#options = options;
    this.#editor = new LineEditor({
      line: (bytes) => this.#add(bytes),
      echo: (bytes) => void this.write(bytes),
      interrupt: () => options.onNote?.("interrupt"),
    });
  }

  get raw(): boolean {
    return this.#raw;
  }

  /** What was typed: a line, or, when raw, what there is; no bytes at the end. Waits for it; EINTR when flushed. */
  read(count: number, req: Req): MaybePromise<Uint8Array> {
    this.#listen();
    if (count === 0) return NOTHING;
    if (this.#canRead()) return this.#take(count);
    return new Promise((resolve, reject) => {
      const reader = { count, resolve };
      this.#readers.push(reader);
      req.onFlush(() => {
        const at = this.#readers.indexOf(reader);
        if (at < 0) return;
        this.#readers.splice(at, 1);
        reject(new Err("EINTR"));
      });
    });
  }

  /** Shows bytes, in one piece; without a terminal, its lines go to the log. */
  write(data: Uint8Array): MaybePromise<number> {
    const { port } = this.#options, count = data.length;
    if (!port) return this.#writeLog(data);
    const bytes = data.slice();
    if (this.#output) return this.#queue(() => port.write(bytes)).then(() => count);
    const shown = port.write(bytes);
    return shown instanceof Promise ? this.#queue(() => shown).then(() => count) : count;
  }

  /** Keys one by one, or lines. */
  setRaw(raw: boolean): void {
    if (raw === this.#raw) return;
    this.#listen();
    this.#raw = raw;
    this.#options.port?.setRaw(raw);
    if (!raw) return;
    for (const rest of [this.#partial, this.#editor.take()]) if (rest.length > 0) this.#add(rest);
    this.#partial = NOTHING;
  }

  /** Whether what is typed is held back from readers. */
  setHold(hold: boolean): void {
    this.#hold = hold;
    this.#serve();
  }

  /** A consctl was opened: what it sets holds until the last one is closed. */
  openCtl(): void {
    this.#ctls++;
  }

  closeCtl(): void {
    if (--this.#ctls > 0) return;
    this.setRaw(false);
    this.setHold(false);
  }

  /** Leaves the terminal as it was; who waits reads the end. */
  close(): void {
    this.setRaw(false);
    if (this.#listening) this.#options.port?.onInput(() => {});
    this.#end();
  }

  /** Takes what the terminal was typed. */
  input(bytes: Uint8Array | null): void {
    if (bytes === null) return this.#end();
    if (this.#raw) return this.#add(bytes);
    if (!this.#options.port?.edits) return this.#editor.input(bytes);
    if (bytes.length === 0) return this.#endLine();
    for (let at = 0; at < bytes.length;) {
      const newline = bytes.indexOf(NEWLINE, at), end = newline < 0 ? bytes.length : newline + 1;
      this.#partial = joined(this.#partial, bytes.subarray(at, end));
      at = end;
      if (newline >= 0 || this.#partial.length >= MAX_LINE_BYTES) this.#endLine();
    }
  }

  /** The terminal is listened to only when somebody wants what is typed. */
  #listen(): void {
    if (this.#listening) return;
    this.#listening = true;
    this.#options.port?.onInput((bytes) => this.input(bytes));
  }

  #endLine(): void {
    const line = this.#partial;
    this.#partial = NOTHING;
    this.#add(line);
  }

  #end(): void {
    for (const rest of [this.#partial, this.#editor.take()]) if (rest.length > 0) this.#add(rest);
    this.#partial = NOTHING;
    this.#ended = true;
    this.#serve();
  }

  #add(bytes: Uint8Array): void {
    if (this.#inputBytes + bytes.length > MAX_INPUT_BYTES) return void this.write(BELL);
    this.#input.push(bytes.slice());
    this.#inputBytes += bytes.length;
    this.#serve();
  }

  #canRead(): boolean {
    return !this.#hold && (this.#input.length > 0 || this.#ended);
  }

  #serve(): void {
    while (this.#readers.length > 0 && this.#canRead()) {
      const reader = this.#readers.shift()!;
      reader.resolve(this.#take(reader.count));
    }
  }

  /** At most `count` bytes of the first line; when raw, of all that was typed. */
  #take(count: number): Uint8Array {
    let got: Uint8Array = NOTHING;
    while (this.#input.length > 0 && got.length < count) {
      const first = this.#input[0], part = first.subarray(0, count - got.length);
      got = joined(got, part);
      this.#inputBytes -= part.length;
      if (part.length < first.length) this.#input[0] = first.subarray(part.length);
      else this.#input.shift();
      if (!this.#raw || part.length === 0) break;
    }
    return got;
  }

  /** Runs `show` after the output that is under way. */
  #queue(show: () => MaybePromise<void>): Promise<void> {
    const done = (this.#output ?? Promise.resolve()).then(show);
    const settled = done.catch(() => {}).then(() => {
      if (this.#output === settled) this.#output = undefined;
    });
    this.#output = settled; // a failure is its own writer's, not the next one's
    return done;
  }

  #writeLog(data: Uint8Array): number {
    const lines = (this.#logged + new TextDecoder().decode(data)).split("\n");
    this.#logged = lines.pop()!;
    for (const line of lines) this.#options.log(line);
    if (this.#logged.length >= MAX_LINE_BYTES) {
      this.#options.log(this.#logged);
      this.#logged = "";
    }
    return data.length;
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
