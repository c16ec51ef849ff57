/**
 * LineEditor: the line discipline of a terminal that has none of its own: editing, echo, end of file, interrupt.
 *
 * Layer: plugins/cons, pure. It edits bytes; an erased character is a whole UTF-8 sequence.
 *
 * | key | |
 * |---|---|
 * | backspace, delete | erases a character |
 * | ^U, ^W | erases the line, a word |
 * | ^D | sends what is there; of an empty line: the end of the file |
 * | ^C | drops the line, interrupts |
 *
 * See cons(3) of Plan 9, termios(3) of Linux.
 */

/** What an editor tells. */
export interface LineSink {
  /** A line, with its newline; without one when ^D ended it, empty for the end of the file. */
  line(bytes: Uint8Array): void;
  /** What the terminal shows. */
  echo(bytes: Uint8Array): void;
  interrupt(): void;
}

/** Bytes of a line at the most; a key more rings the bell. */
export const MAX_LINE_BYTES = 4096;

const INTERRUPT = 0x03, END = 0x04, BELL = 0x07, BACKSPACE = 0x08, TAB = 0x09, NEWLINE = 0x0a, RETURN = 0x0d;
const KILL = 0x15, WORD = 0x17, SPACE = 0x20, DELETE = 0x7f;
const ERASE = [BACKSPACE, SPACE, BACKSPACE];

/** One terminal's line under way. */
export class LineEditor {
  #line: number[] = [];
  #echo: number[] = [];
  readonly #sink: LineSink;

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  /** Takes what was typed. */
  input(bytes: Uint8Array): void {
    for (const byte of bytes) this.#key(byte);
    this.#flushEcho();
  }

  /** Takes the unfinished line away. */
  take(): Uint8Array {
    return Uint8Array.from(this.#line.splice(0));
  }

  #key(byte: number): void {
    switch (byte) {
      case BACKSPACE:
      case DELETE:
        return this.#erase();
      case KILL:
        while (this.#line.length > 0) this.#erase();
        return;
      case WORD:
        return this.#eraseWord();
      case END:
        return this.#sink.line(this.take());
      case INTERRUPT:
        this.#line = [];
        this.#show(byte);
        this.#echo.push(NEWLINE);
        return this.#sink.interrupt();
      case RETURN:
      case NEWLINE:
        this.#line.push(NEWLINE);
        this.#echo.push(NEWLINE);
        this.#flushEcho();
        return this.#sink.line(this.take());
    }
    if (this.#line.length >= MAX_LINE_BYTES - 1) this.#echo.push(BELL);
    else {
      this.#line.push(byte);
      this.#show(byte);
    }
  }

  #erase(): void {
    let last = this.#line.pop();
    if (last === undefined) return;
    while (last !== undefined && (last & 0xc0) === 0x80) last = this.#line.pop();
    this.#echo.push(...ERASE);
    if (last !== undefined && isControl(last)) this.#echo.push(...ERASE);
  }

  #eraseWord(): void {
    while (this.#line.at(-1) === SPACE) this.#erase();
    while (this.#line.length > 0 && this.#line.at(-1) !== SPACE) this.#erase();
  }

  /** Control characters are shown as ^X. */
  #show(byte: number): void {
    if (isControl(byte)) this.#echo.push(0x5e, byte ^ 0x40);
    else this.#echo.push(byte);
  }

  #flushEcho(): void {
    if (this.#echo.length > 0) this.#sink.echo(Uint8Array.from(this.#echo.splice(0)));
  }
}

function isControl(byte: number): boolean {
  return byte < SPACE && byte !== TAB;
}
