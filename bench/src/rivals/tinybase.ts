// TinyBase: a table of a mergeable store; the changes of a transaction travel as JSON.

import type { Row } from 'tinybase';
import { createMergeableStore, type MergeableChanges, type MergeableContent } from 'tinybase/mergeable-store';
import { changed, type Follow, type Serve } from './rival.js';

export const serve: Serve = (records) => {
  const store = createMergeableStore('server');
  store.transaction(() => {
    for (const record of records) store.setRow('items', record.id, record as unknown as Row);
  });
  let changes = '';
  store.addDidFinishTransactionListener(() => {
    changes = JSON.stringify(store.getTransactionMergeableChanges());
  });
  return {
    initial: () => JSON.stringify(store.getMergeableContent()),
    write(before, after) {
      store.transaction(() => {
        for (const field of changed(before, after)) store.setCell('items', after.id, field, after[field]);
      });
      return changes;
    },
  };
};

export const follow: Follow = (initial) => {
  const store = createMergeableStore('client');
  store.setMergeableContent(JSON.parse(initial as string) as MergeableContent);
  return {
    receive: (frame) => void store.applyMergeableChanges(JSON.parse(frame as string) as MergeableChanges),
    read: (id) => store.getRow('items', id),
  };
};
