/**
 * HostTerminal: the terminal that the host process was started on, or the pipes in its place.
 *
 * Layer: devices; plugins/cons shares it. The host edits lines and echoes until it is set raw, so a process that dies
 * leaves the terminal usable. Reads begin with `onInput`, so input that nobody wants stays with the host.
 *
 * See tty(4) and termios(3) of Linux.
 */

const READ_BYTES = 4096;
/** A terminal goes on after ^D; this many in a row come from one that has hung up. */
const MAX_ENDS = 16;

/** What of Deno's standard input and output is used. */
export interface TerminalInput {
  read(into: Uint8Array): Promise<number | null>;
  isTerminal(): boolean;
  setRaw(raw: boolean): void;
}

/** The other half. */
export interface TerminalOutput {
  write(bytes: Uint8Array): Promise<number>;
}

export class HostTerminal {
  /** The host edits lines; those of a pipe come as they are. */
  readonly edits = true;
  readonly #input: TerminalInput;
  readonly #output: TerminalOutput;
  #listener: ((bytes: Uint8Array | null) => void) | null = null;
  #raw = false;

  constructor(input: TerminalInput = Deno.stdin, output: TerminalOutput = Deno.stdout) {
    this.#input = input;
    this.#output = output;
  }

  /** Whether a person may be there. */
  get isTerminal(): boolean {
    return this.#input.isTerminal();
  }

  /** Shows all of `bytes`. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) done += await this.#output.write(bytes.subarray(done));
  }

  /** Calls `listener` with what comes: no bytes are a typed end of file, null the end of all input. The last one counts. */
  onInput(listener: (bytes: Uint8Array | null) => void): void {
    const started = this.#listener !== null;
    this.#listener = listener;
    if (!started) this.#listen().catch(() => this.#listener!(null)); // a terminal that fails is gone
  }

  /** Keys one by one, without echo; nothing to do for a pipe. */
  setRaw(raw: boolean): void {
    if (raw === this.#raw || !this.isTerminal) return;
    this.#raw = raw;
    this.#input.setRaw(raw);
  }

  async #listen(): Promise<void> {
    const into = new Uint8Array(READ_BYTES);
    for (let ends = 0; ends < MAX_ENDS;) {
      const count = await this.#input.read(into);
      ends = count ? 0 : this.isTerminal ? ends + 1 : MAX_ENDS;
      if (ends < MAX_ENDS) this.#listener!(into.slice(0, count ?? 0));
    }
    this.#listener!(null);
  }
}

let shared: HostTerminal | undefined;

/** The terminal of this process; there is one, whoever asks. */
export function hostTerminal(): HostTerminal {
  return shared ??= new HostTerminal();
}
