// The example client in plain JavaScript, against the native server: the protocol needs nothing but its description.

import { readFileSync } from 'node:fs';
import { WebSocket } from 'ws';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NativeServer, SERVER_BIN } from './native.js';
import { until } from './support.js';

interface PlainClient {
  object(key: string, show: (value: unknown, position: [string, number]) => void): () => void;
  datastore(id: string, primary: string, show: (rows: Map<string, unknown>, position: [string, number]) => void): () => void;
  put(key: string, value: unknown): Promise<[string, number]>;
  delete(key: string): Promise<[string, number] | null>;
  set(datastore: string, record: unknown): Promise<[string, number]>;
  remove(datastore: string, key: string): Promise<[string, number] | null>;
  close(): void;
}

const source = new URL('../../examples/plain_client.mjs', import.meta.url);
const { PlainClient } = (await import(source.href)) as { PlainClient: new (url: string, socket: unknown) => PlainClient };

test('the example is shorter than 150 lines', () => {
  expect(readFileSync(source, 'utf8').trimEnd().split('\n').length).toBeLessThan(150);
});

// Without a server, native.test.ts says so, loudly.
if (SERVER_BIN !== undefined) {
  describe('a client of 150 lines', () => {
    let server: NativeServer;
    beforeAll(async () => { server = await NativeServer.start(); });
    afterAll(() => server.stop());

    test('follows objects and datastores through the death of the server, and every write runs once', async () => {
      const writer = new PlainClient(server.url, WebSocket);
      const reader = new PlainClient(server.url, WebSocket);
      const values: unknown[] = [];
      let rows = new Map<string, unknown>();
      reader.object('user:1', (value) => values.push(value));
      reader.datastore('countries', 'cca3', (shown) => { rows = shown; });
      const records = Array.from({ length: 2_000 }, (_, n) => ({ cca3: `C${n}`, native: '国'.repeat(100) }));
      await until(() => values.length === 1, 'the object is absent');
      await writer.put('user:1', { name: 'Ada' });
      writer.datastore('countries', 'cca3', () => {});
      await Promise.all(records.map((record) => writer.set('countries', record)));
      await writer.remove('countries', 'C7');
      await until(() => rows.size === 1_999, 'every record is shown');
      expect(values).toEqual([undefined, { name: 'Ada' }]);

      await server.kill();
      const queued = Promise.all([writer.put('user:1', { name: 'Grace' }), writer.set('countries', { cca3: 'C7' })]);
      await server.start();
      const [[, sequence]] = await queued;
      expect(sequence).toBe(2);
      await until(() => values.length === 3 && rows.size === 2_000, 'the reader is back');
      expect(values.at(-1)).toEqual({ name: 'Grace' });

      // More than a page at once, for one that comes late.
      let late = new Map<string, unknown>();
      const other = new PlainClient(server.url, WebSocket);
      other.datastore('countries', 'cca3', (shown) => { late = shown; });
      await until(() => late.size === 2_000, 'all pages are in');
      expect(Object.fromEntries(late)).toEqual(Object.fromEntries(rows));
      await expect(writer.set('nowhere', { id: 'a' })).rejects.toMatchObject({ code: 2 });
      expect(await writer.delete('user:1')).toEqual([expect.any(String), 3]);
      await until(() => values.at(-1) === undefined, 'the deletion is shown');
      for (const client of [writer, reader, other]) client.close();
    });
  });
}
