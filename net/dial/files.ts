/**
 * The files that dialing is done with: whoever can open, read and write the files of a `/net` can dial through it.
 *
 * Layer: net/dial, a leaf. A client of deno-9p is a `NetFiles` as it is, and so is what it opens; `filesOf` makes one of a
 * program's calls. What holds always: an offset is given with each transfer, and files of conversations do not look at it.
 */

/** An open file. `RemoteFile` of deno-9p is one. */
export interface NetFile {
  /** Bytes that one request moves at the most, where that is known. */
  readonly iounit?: number;
  /** Reads into `into`: the count, 0 at the end. */
  read(into: Uint8Array, offset: number, signal?: AbortSignal): Promise<number>;
  /** Writes: the count that was taken. */
  write(data: Uint8Array, offset: number, signal?: AbortSignal): Promise<number>;
  close(): Promise<void>;
}

/** Where files are opened. `Client` of deno-9p is one. */
export interface NetFiles {
  open(path: string, mode: number, signal?: AbortSignal): Promise<NetFile>;
}

/** The calls that `filesOf` needs: `AsyncSys` of a program, or a `Proc`. */
export interface FileCalls {
  open(path: string, mode?: number): Promise<number>;
  pread(fd: number, into: Uint8Array, offset: number): Promise<number>;
  pwrite(fd: number, data: Uint8Array, offset: number): Promise<number>;
  close(fd: number): Promise<unknown>;
}

/** Bytes of one transfer of a file: no transfer is split, for the second part could wait for ever. */
export function transferBytes(file: NetFile): number {
  return Math.min(file.iounit || TRANSFER_BYTES, TRANSFER_BYTES);
}

/** Open modes. */
export const OREAD = 0, ORDWR = 2;

/** Bytes of a transfer at the most: what a program's call moves. */
export const TRANSFER_BYTES = 64 * 1024;

/** A file by its number. */
export class FdFile implements NetFile {
  constructor(private readonly calls: FileCalls, readonly fd: number) {}

  read(into: Uint8Array, offset: number): Promise<number> {
    return this.calls.pread(this.fd, into, offset);
  }

  write(data: Uint8Array, offset: number): Promise<number> {
    return this.calls.pwrite(this.fd, data, offset);
  }

  async close(): Promise<void> {
    await this.calls.close(this.fd);
  }
}

/** Files by the calls of a program (`filesOf(program.async)`). A call that waits can not be given up: close its conversation. */
export function filesOf(calls: FileCalls): NetFiles {
  return {
    open: async (path: string, mode: number): Promise<FdFile> => new FdFile(calls, await calls.open(path, mode)),
  };
}

/** What is told where a file has a text: all of it, up to 64 KiB, white space at its end left out. */
export async function readText(file: NetFile, signal?: AbortSignal): Promise<string> {
  const room = new Uint8Array(TRANSFER_BYTES);
  let length = 0;
  for (let count; (count = await file.read(room.subarray(length), length, signal)) > 0;) length += count;
  return new TextDecoder().decode(room.subarray(0, length)).trimEnd();
}

/** The text of the file at a path. */
export async function readTextOf(files: NetFiles, path: string, signal?: AbortSignal): Promise<string> {
  const file = await files.open(path, OREAD, signal);
  try {
    return await readText(file, signal);
  } finally {
    await file.close();
  }
}

/** Writes a text by one request. */
export async function writeText(file: NetFile, text: string, signal?: AbortSignal): Promise<void> {
  await file.write(new TextEncoder().encode(text), 0, signal);
}
