// The whole way: this package, a WebSocket, the native server, its database.

import { existsSync } from 'node:fs';
import { WebSocket } from 'ws';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Client, connect } from 'tidewire';
import { NativeServer, SERVER_BIN } from './native.js';
import { describeSession } from './session.js';
import { until } from './support.js';

if (SERVER_BIN !== undefined && !existsSync(SERVER_BIN)) {
  throw new Error(`TIDEWIRE_SERVER names ${SERVER_BIN}, which does not exist: build the server, or run \`cargo xtask test\``);
}
if (SERVER_BIN === undefined) {
  console.warn([
    '', '!'.repeat(100),
    '!! The tests against the native server did NOT run: TIDEWIRE_SERVER does not name a tidewire-server program.',
    '!! `cargo xtask test` builds one and runs them.',
    '!'.repeat(100), '',
  ].join('\n'));
} else {
  const over = async (): Promise<{ connect(): Promise<Client>; stop(): Promise<void> }> => {
    const server = await NativeServer.start();
    return { connect: () => connect(server.url, { WebSocket }), stop: () => server.stop() };
  };
  describeSession('a WebSocket to the native server', over);

  describe('the native server may go and come back', () => {
    let server: NativeServer;
    beforeAll(async () => { server = await NativeServer.start(); });
    afterAll(() => server.stop());

    test('what was acknowledged survives its death; the client reconnects and goes on', async () => {
      const client = await connect(server.url, { WebSocket });
      const todos = client.datastore<{ id: string; n: number }>('todos', undefined, { kind: 'permanent' });
      await todos.set({ id: 'a', n: 1 });
      const rows = todos.rows();
      await server.kill();
      await until(() => client.status().state === 'reconnecting', 'the client notices');
      expect(todos.rows()).toBe(rows);
      const queued = todos.set({ id: 'b', n: 2 });
      await server.start();
      await queued;
      expect(client.status().state).toBe('live');
      expect(todos.rows()).toEqual([{ id: 'a', n: 1 }, { id: 'b', n: 2 }]);
      expect(todos.get('a')).toBe(rows[0]);
      const late = await connect(server.url, { WebSocket });
      const same = late.datastore('todos');
      await same.ready();
      expect(same.rows()).toEqual(todos.rows());
      client.close();
      late.close();
    });
  });
}

test('an address that is none is told at once', async () => {
  for (const address of ['ftp://example.org', 'not an address', '']) {
    await expect(connect(address, { WebSocket })).rejects.toMatchObject({ code: 'invalid_argument' });
  }
});

test('without a WebSocket class it says where to get one', async () => {
  if (globalThis.WebSocket === undefined) await expect(connect('ws://127.0.0.1:9')).rejects.toThrow(/pass one/);
});

test('a server that is not there: the client says so and goes on trying', async () => {
  const client = await connect('ws://127.0.0.1:9/v1/sync', { WebSocket });
  await until(() => client.status().state === 'reconnecting', 'reconnecting');
  const status = client.status();
  expect(status).toMatchObject({ state: 'reconnecting', reason: expect.any(String) });
  if (status.state === 'reconnecting') expect(status.nextAttemptAt ?? Date.now()).toBeLessThan(Date.now() + 60_000);
  client.close();
});
