/**
 * listen: answers calls, each with a program of its own. The manual page is man/listen.md.
 *
 * Layer: programs, over /net. The program has the conversation as its files 0 and 1. What holds always: no more than `-m` programs
 * run at once; callers wait meanwhile, as many as the protocol's backlog has room for.
 */

import { announce, type Announcement, type Conn, type FdFile } from "ring9/net";
import { complain, defineTool, findProgram, type Running } from "../lib/tool.ts";

const MAX_CALLS = 64;

export default defineTool({
  usage: "listen [-v] [-m calls] [-x netdir] address program [word...]",
  flags: "vm:x:",
  words: [2, Infinity],
  async run(tool) {
    const { files, flags, words: [address, name, ...args] } = tool;
    const most = flags.number("m", { otherwise: MAX_CALLS, least: 1, most: 1000 });
    const path = await findProgram(tool, name);
    await using announced = await announce(files, address, { netdir: flags.text("x") });
    if (flags.has("v")) complain(tool, `listening on ${(await announced.info()).local}\n`);
    await new Listening(tool, announced, most).run(path, args);
  },
});

class Listening {
  #running = 0;
  #waiting = false;
  #room: (() => void) | undefined;

  constructor(
    private readonly tool: Running,
    private readonly announced: Announcement,
    private readonly most: number,
  ) {}

  async run(path: string, args: string[]): Promise<never> {
    for (;;) {
      if (this.#running >= this.most) await new Promise<void>((resolve) => this.#room = resolve);
      const call = await this.announced.listen();
      try {
        await this.#start(await call.accept(), path, args);
      } catch (thrown) {
        complain(this.tool, `${call.dir}: ${(thrown as Error).message}\n`); // this call's alone
      }
    }
  }

  /** Its own files of the conversation are closed: it ends with the program's. */
  async #start(conn: Conn, path: string, args: string[]): Promise<void> {
    await using ours = conn;
    const { async, flags } = this.tool, fd = (conn.data as FdFile).fd;
    if (flags.has("v")) complain(this.tool, `${conn.dir} ${(await conn.info()).remote}\n`);
    await async.spawn(path, { args, fds: [2], redirect: [[fd, 0], [fd, 1]] });
    void ours;
    this.#running++;
    if (!this.#waiting) void this.#wait();
  }

  async #wait(): Promise<void> {
    this.#waiting = true;
    while (this.#running > 0) {
      const { pid, status } = await this.tool.async.wait();
      if (status !== "") complain(this.tool, `${pid}: ${status}\n`);
      this.#running--;
      this.#room?.();
      this.#room = undefined;
    }
    this.#waiting = false;
  }
}
