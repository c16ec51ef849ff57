/**
 * Errors: one table of codes, each with its Plan 9 string and its Linux number.
 *
 * Layer: a leaf of the core; everything may import it. 9P2000 sends the string, 9P2000.u both,
 * 9P2000.L the number. Code compares `code`, never text. The strings are those that Linux's 9P client
 * maps back to numbers (it knows Plan 9's and u9fs's wording, and gives errno 526 for any other).
 *
 * See intro(5) of Plan 9 and errno(3) of Linux.
 */

/** Every error code: `[Linux errno, Plan 9 error string]`. */
export const ERRORS = {
  EPERM: [1, "Operation not permitted"],
  ENOENT: [2, "file does not exist"],
  ESRCH: [3, "No such process"],
  EINTR: [4, "Interrupted system call"],
  EIO: [5, "i/o error"],
  ENXIO: [6, "No such device or address"],
  E2BIG: [7, "Argument list too long"],
  EBADF: [9, "fid unknown or out of range"],
  ECHILD: [10, "No child processes"],
  EAGAIN: [11, "Resource temporarily unavailable"],
  ENOMEM: [12, "Cannot allocate memory"],
  EACCES: [13, "permission denied"],
  EBUSY: [16, "Device or resource busy"],
  EEXIST: [17, "file already exists"],
  EXDEV: [18, "Invalid cross-device link"],
  ENODEV: [19, "No such device"],
  ENOTDIR: [20, "not a directory"],
  EISDIR: [21, "Is a directory"],
  EINVAL: [22, "Invalid argument"],
  ENFILE: [23, "Too many open files in system"],
  EMFILE: [24, "Too many open files"],
  ETXTBSY: [26, "file already open for I/O"],
  EFBIG: [27, "file too big"],
  ENOSPC: [28, "file system is full"],
  ESPIPE: [29, "bad offset in directory read"],
  EROFS: [30, "read only file system"],
  EMLINK: [31, "Too many links"],
  EPIPE: [32, "Broken pipe"],
  ERANGE: [34, "Numerical result out of range"],
  EDEADLK: [35, "Resource deadlock avoided"],
  ENAMETOOLONG: [36, "File name too long"],
  ENOLCK: [37, "No locks available"],
  ENOSYS: [38, "Function not implemented"],
  ENOTEMPTY: [39, "directory is not empty"],
  ELOOP: [40, "Too many levels of symbolic links"],
  EIDRM: [43, "file has been removed"],
  ENODATA: [61, "No data available"],
  ETIME: [62, "Timer expired"],
  EPROTO: [71, "protocol botch"],
  EBADMSG: [74, "Bad message"],
  EOVERFLOW: [75, "Value too large for defined data type"],
  EILSEQ: [84, "Illegal byte sequence"],
  EMSGSIZE: [90, "Message too long"],
  EOPNOTSUPP: [95, "Operation not supported"],
  EADDRINUSE: [98, "Address already in use"],
  EADDRNOTAVAIL: [99, "Cannot assign requested address"],
  ENETUNREACH: [101, "Network is unreachable"],
  ECONNABORTED: [103, "Software caused connection abort"],
  ECONNRESET: [104, "Connection reset by peer"],
  ENOTCONN: [107, "Transport endpoint is not connected"],
  ESHUTDOWN: [108, "Cannot send after transport endpoint shutdown"],
  ETIMEDOUT: [110, "Connection timed out"],
  ECONNREFUSED: [111, "Connection refused"],
  EHOSTUNREACH: [113, "No route to host"],
  EALREADY: [114, "Operation already in progress"],
  EINPROGRESS: [115, "Operation now in progress"],
  ESTALE: [116, "Stale NFS file handle"],
  EDQUOT: [122, "Disk quota exceeded"],
  ECANCELED: [125, "Operation Canceled"],
} as const satisfies Record<string, readonly [number, string]>;

/** The name of an error, as in errno(3). */
export type Code = keyof typeof ERRORS;

const BY_ERRNO = new Map<number, Code>();
const BY_ENAME = new Map<string, Code>();
for (const code of Object.keys(ERRORS) as Code[]) {
  BY_ERRNO.set(ERRORS[code][0], code);
  BY_ENAME.set(ERRORS[code][1].toLowerCase(), code);
}

/** Words that other 9P servers use for the same errors (lib9p, u9fs, fossil, diod, Linux's strerror). */
const ALIASES: Record<string, Code> = {
  "no such file or directory": "ENOENT",
  "file not found": "ENOENT",
  "directory entry not found": "ENOENT",
  "permission denied": "EACCES",
  "file exists": "EEXIST",
  "file or directory already exists": "EEXIST",
  "directory not empty": "ENOTEMPTY",
  "no space left on device": "ENOSPC",
  "read-only file system": "EROFS",
  "file is read only": "EROFS",
  "input/output error": "EIO",
  "unknown fid": "EBADF",
  "bad file descriptor": "EBADF",
  "fid already in use": "EBADF",
  "bad use of fid": "EBADF",
  "exclusive use file already open": "EAGAIN",
  "illegal name": "EINVAL",
  "bad offset in directory": "ESPIPE",
  "interrupted": "EINTR",
  "not owner": "EPERM",
  "wstat prohibited": "EPERM",
  "file too large": "EFBIG",
  "protocol error": "EPROTO",
};

/**
 * An error at the file boundary: what a file operation throws, and what a 9P server sends.
 *
 * `message` is what a person reads, and what 9P2000 and 9P2000.u carry; with no detail it is the table's string.
 *
 * @example
 * ```ts
 * import { Err } from "./err.ts";
 * const e = new Err("ENOENT");
 * console.assert(e.errno === 2 && e.message === "file does not exist");
 * ```
 */
export class Err extends Error {
  /** The code, as in errno(3): what code compares. */
  readonly code: Code;

  constructor(code: Code, detail?: string, options?: ErrorOptions) {
    super(detail ?? ERRORS[code][1], options);
    this.name = "Err";
    this.code = code;
  }

  /** Linux's number, what 9P2000.L and 9P2000.u carry. */
  get errno(): number {
    return ERRORS[this.code][0];
  }

  /** The error string of 9P2000: the detail, or the table's string. */
  get ename(): string {
    return this.message;
  }
}

/** The error that a Linux number stands for; one not in the table is EIO with the number in its text. */
export function errFromErrno(errno: number, detail?: string): Err {
  const code = BY_ERRNO.get(errno);
  return code ? new Err(code, detail) : new Err("EIO", detail ?? `remote error, errno ${errno}`);
}

/** The error that a 9P error string stands for; an unknown string is kept as the text of an EIO. */
export function errFromEname(ename: string): Err {
  const key = ename.toLowerCase();
  return new Err(BY_ENAME.get(key) ?? ALIASES[key] ?? "EIO", ename);
}

/** Any thrown value as an `Err`. Something that is not one is a programmer's error or the host's: EIO, with its cause kept. */
export function toErr(thrown: unknown): Err {
  if (thrown instanceof Err) return thrown;
  if (thrown instanceof Error) {
    if (thrown.name === "AbortError") return new Err("EINTR");
    return new Err("EIO", thrown.message, { cause: thrown });
  }
  return new Err("EIO", String(thrown));
}

/** So much of a path is quoted: more than of a word, for its end tells. */
export const PATH_CHARS = 240;

/** What somebody sent, as an error quotes it: at most `most` characters, and "…" for what is left out. */
export function excerpt(text: string, most = 60): string {
  if (text.length <= most) return text;
  const last = text.charCodeAt(most - 1), isHalf = last >= 0xd800 && last < 0xdc00;
  return `${text.slice(0, isHalf ? most - 1 : most)}…`;
}
