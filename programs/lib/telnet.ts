/**
 * Telnet: takes commands and option negotiation out of what a telnet server sends, and refuses every option.
 *
 * Layer: programs/lib, pure, under con.
 *
 * See RFC 854, RFC 855.
 */

const IAC = 255, DONT = 254, DO = 253, WONT = 252, WILL = 251, SB = 250, SE = 240, CR = 13, NUL = 0;

/** What is expected next. */
type State = "data" | "cr" | "command" | "option" | "sub" | "subCommand";

export class Telnet {
  #state: State = "data";
  #verb = 0;
  #answers: number[] = [];

  /** What of these bytes is data. */
  input(bytes: Uint8Array): Uint8Array {
    const data: number[] = [];
    for (const byte of bytes) this.#take(byte, data);
    return Uint8Array.from(data);
  }

  /** What is to be sent back; each answer is given once. */
  answers(): Uint8Array {
    return Uint8Array.from(this.#answers.splice(0));
  }

  #take(byte: number, data: number[]): void {
    switch (this.#state) {
      case "cr":
        this.#state = "data";
        if (byte === NUL) return; // a bare carriage return
        return this.#data(byte, data);
      case "data":
        return this.#data(byte, data);
      case "command":
        return this.#command(byte, data);
      case "option":
        this.#state = "data";
        if (this.#verb === WILL) this.#answers.push(IAC, DONT, byte);
        if (this.#verb === DO) this.#answers.push(IAC, WONT, byte);
        return;
      case "sub":
        if (byte === IAC) this.#state = "subCommand";
        return;
      case "subCommand":
        this.#state = byte === SE ? "data" : "sub";
    }
  }

  #data(byte: number, data: number[]): void {
    if (byte === IAC) this.#state = "command";
    else {
      data.push(byte);
      if (byte === CR) this.#state = "cr";
    }
  }

  #command(byte: number, data: number[]): void {
    this.#state = "data";
    if (byte === IAC) data.push(IAC);
    else if (byte === SB) this.#state = "sub";
    else if (byte >= WILL && byte <= DONT) {
      this.#verb = byte;
      this.#state = "option";
    }
  }
}
