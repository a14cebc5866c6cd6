// Whether a follower shows what it should.

import { isSame, ITEM, itemAt } from './records.js';

/** Reads every leaf of all records, and compares a few of them whole. */
export function readAll(count: number, read: (id: string) => unknown): void {
  for (let i = 0; i < count; i++) {
    const item = itemAt(i);
    const shown = read(item.id);
    const isWhole = i % 997 === 0 ? isSame(shown, item) : ITEM.checksum(shown as typeof item) === ITEM.checksum(item);
    if (!isWhole) throw new Error(`${item.id} is shown wrong`);
  }
}
