/**
 * DirIndex: the names of one large directory in memory, so that a look-up is one step and a free place is found without
 * reading all its blocks again.
 *
 * Layer: fs/ext2, a leaf; dir.ts fills and follows it. It is a copy of what the blocks hold and can be thrown away at any
 * time. Its size is bounded by `Volume.indexLimit`, over all directories together.
 */

/** Bytes of the smallest entry: below that a hole is of no use. */
const MIN_ENTRY_BYTES = 12;

export class DirIndex {
  /** Where each name lies: block of the directory * 65536 + offset. */
  readonly names = new Map<string, number>();
  /** The largest hole in each block, bytes. */
  readonly rooms: number[] = [];
  /** Blocks read so far; the index answers once all are. */
  scanned = 0;
  #firstRoom = 0;

  /** The first block with a hole of `bytes`, or -1. */
  findRoom(bytes: number): number {
    const { rooms } = this;
    let block = this.#firstRoom;
    while (block < rooms.length && rooms[block] < MIN_ENTRY_BYTES) block++;
    this.#firstRoom = block;
    while (block < rooms.length && rooms[block] < bytes) block++;
    return block < rooms.length ? block : -1;
  }

  setRoom(block: number, bytes: number): void {
    this.rooms[block] = bytes;
    if (block < this.#firstRoom) this.#firstRoom = block;
  }
}
