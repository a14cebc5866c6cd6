// What the package says to those who call it wrongly: at the call, with a code and what to do, and never nothing.

import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Client, connect, TidewireError, WebSocketTransport } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';

/** What no caller in TypeScript could pass. */
const wrong = (value: unknown): never => value as never;

let server: ReferenceServer;
let client: Client;

beforeAll(async () => {
  server = await ReferenceServer.create();
  client = await connect(server);
});

afterAll(() => {
  client.close();
  server.close();
});

/** The error of `call`, thrown or rejected with. */
async function saidOf(call: () => unknown): Promise<TidewireError> {
  try {
    await call();
  } catch (error) {
    expect(error).toBeInstanceOf(TidewireError);
    return error as TidewireError;
  }
  throw new Error('nothing was said');
}

describe('an argument that a call cannot take is refused by that call', () => {
  const unset = undefined as unknown as string;
  const calls: [what: string, call: () => unknown, says: RegExp][] = [
    ['an address that is not set', () => connect(unset), /"undefined" is no URL of a server/],
    ['an empty address', () => connect(''), /"" is no URL/],
    ['the promise of a server', () => connect(wrong(ReferenceServer.create())), /Promise.* is no URL/],
    ['an address without a scheme', () => connect('localhost:8080'), /looks like wss:/],
    ['the name of a WebSocket class', () => connect('ws://127.0.0.1:1/', { WebSocket: wrong('ws') }), /no WebSocket here/],
    ['a kind that is none', () => client.datastore('k', undefined, { kind: wrong('permanently') }), /`kind` is 'permanent' or 'temp'/],
    ['options in the place of a schema', () => client.datastore('k', wrong({ kind: 'permanent' })), /does not support "kind"/],
    ['a field and a value for a pool', () => client.pool('p').set(wrong('me')), /fields must be an object/],
    ['a list for a pool', () => client.pool('p').set(wrong([1])), /fields must be an object/],
    ['nothing for a pool', () => client.pool('p').set(wrong(undefined)), /fields must be an object/],
    ['no listener', () => client.synced('k').subscribe(wrong(undefined)), /listener must be a function/],
    ['no listener of a part', () => client.synced('k').select('a', wrong(undefined)), /listener must be a function/],
    ['no listener of the inbox', () => client.inbox.subscribe(wrong(undefined)), /listener must be a function/],
    ['no listener of a watch', () => client.kv('g').watch('k', wrong(undefined)), /listener must be a function/],
    ['a client of another copy of the package', () => new WebSocketTransport(wrong({ put() {} })), /this copy of the package/],
  ];
  test.each(calls)('%s', async (_, call, says) => {
    const error = await saidOf(call);
    expect(error.message).toMatch(says);
    expect(['invalid_argument', 'unsupported_schema']).toContain(error.code);
  });
});

test('a token that is null, as storage has it for nobody, is no token', async () => {
  const open = await connect(server, { token: wrong(null) });
  await open.put('nobody', 1);
  open.close();
});

test('a subscription that is denied is named', async () => {
  const heard: string[] = [];
  const missing = client.datastore('missing');
  missing.on('error', ({ message }) => heard.push(message));
  expect((await saidOf(() => missing.ready())).message).toBe('missing: no such datastore; open it with a `kind` to make it');
  expect(heard).toEqual(['missing: no such datastore; open it with a `kind` to make it']);
});

test('a record that does not say its name is told which field has it', async () => {
  const codes = client.datastore('codes', undefined, { kind: 'permanent', primary: 'code' });
  const { code, message } = await saidOf(() => codes.set({ id: 'a', code: 7 }));
  expect([code, message]).toEqual([
    'invalid_request', 'the record has no text in its primary field `code`; put its name there, as text even if it is a number',
  ]);
});

test('consoles show the name of the error, although the code is made short', () => {
  expect(inspect(new TidewireError('closed', 'why'))).toMatch(/^TidewireError: why/);
});
