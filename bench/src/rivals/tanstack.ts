// TanStack DB: a collection whose sync function is fed; the whole new record travels as JSON, as its own integrations do.

import { createCollection } from '@tanstack/db';
import type { Item } from '../records.js';
import type { Follow, Serve } from './rival.js';

export const serve: Serve = (records) => ({
  initial: () => JSON.stringify(records),
  write: (_before, after) => JSON.stringify(after),
});

export const follow: Follow = (initial) => {
  let update: ((item: Item) => void) | undefined;
  const collection = createCollection<Item, string>({
    id: 'items',
    getKey: (item) => item.id,
    startSync: true,
    sync: {
      sync({ begin, write, commit, markReady }) {
        begin();
        for (const value of JSON.parse(initial as string) as Item[]) write({ type: 'insert', value });
        commit();
        markReady();
        update = (value) => {
          begin();
          write({ type: 'update', value });
          commit();
        };
      },
    },
  });
  return {
    receive: (frame) => update!(JSON.parse(frame as string) as Item),
    read: (id) => collection.get(id),
  };
};
