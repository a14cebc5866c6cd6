// Pools, the mailbox and the kv store, over the server in the page and over the native one; and who may use them.

import { createHmac, randomBytes } from 'node:crypto';
import { WebSocket } from 'ws';
import { expect, test } from 'vitest';
import { type Client, connect, type KvEvent, type Link, WebSocketTransport } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { NativeServer, SERVER_BIN } from './native.js';
import { describeServices } from './services.js';
import { until } from './support.js';

describeServices('a link to the server in the page', async () => {
  const server = await ReferenceServer.create();
  const links = new Map<Client, Link[]>();
  return {
    async connect(user) {
      const own: Link[] = [];
      const link = (): Link => {
        const made = server.link();
        own.push(made);
        return made;
      };
      const client = await connect({ link }, user === undefined ? {} : { token: user });
      links.set(client, own);
      return client;
    },
    cut: (client) => links.get(client)!.at(-1)!.close(4000, 'cut'),
    stop: async () => server.close(),
  };
});

if (SERVER_BIN !== undefined) {
  describeServices('a WebSocket to the native server', async () => {
    const server = await NativeServer.start();
    const sockets = new Map<Client, WebSocket[]>();
    return {
      async connect(user) {
        const own: WebSocket[] = [];
        class Socket extends WebSocket {
          constructor(url: string, protocols: string[]) {
            super(url, protocols);
            own.push(this);
          }
        }
        const client = await connect(server.url, { WebSocket: Socket as never, ...(user === undefined ? {} : { token: user }) });
        sockets.set(client, own);
        return client;
      },
      cut: (client) => sockets.get(client)!.at(-1)!.terminate(),
      stop: () => server.stop(),
    };
  });
}

test('notifications that are taken together are told to the server together', async () => {
  const server = await ReferenceServer.create();
  const ada = await connect(server, { token: 'ada' });
  for (let n = 0; n < 100; n++) await ada.notify('bob', n);
  let sent = 0;
  const link = (): Link => {
    const made = server.link();
    const { send } = made;
    made.send = (bytes) => {
      sent++;
      send.call(made, bytes);
    };
    return made;
  };
  const bob = await connect({ link }, { token: 'bob' });
  const heard: unknown[] = [];
  bob.inbox.subscribe(({ pack }) => heard.push(pack));
  await until(() => heard.length === 100, 'all of them');
  await bob.kv('g').count();
  expect(heard).toEqual(Array.from({ length: 100 }, (_, n) => n));
  // Hello, the subscription, the question; and what was taken, in a few.
  expect(sent).toBeLessThan(20);
  for (const client of [ada, bob]) client.close();
  const again = await connect(server, { token: 'bob' });
  let later = 0;
  again.inbox.subscribe(() => later++);
  await again.kv('g').count();
  expect(later).toBe(0);
  again.close();
  server.close();
});

test('a watch tells how many events it has lost', async () => {
  const server = await ReferenceServer.create();
  const links: Link[] = [];
  const client = await connect({ link: () => { const link = server.link(); links.push(link); return link; } });
  const heard: KvEvent[] = [];
  client.kv('g').watch('*', (event) => heard.push(event));
  await until(() => heard.length === 1, 'the watch');
  // `dropped` of subscription 0x100000, the first one of a client: five.
  links[0]!.onmessage!({ data: Uint8Array.of(0x93, 78, 0xce, 0, 0x10, 0, 0, 5).buffer });
  expect(heard).toEqual([{ kind: 'following' }, { kind: 'dropped', count: 5 }]);
  client.close();
  server.close();
});

if (SERVER_BIN !== undefined) {
  test('what was acknowledged survives the death of the server, and is told once', async () => {
    const server = await NativeServer.start();
    const [ada, bob] = await Promise.all(['ada', 'bob'].map((token) => connect(server.url, { WebSocket, token }))) as [Client, Client];
    const heard: unknown[] = [];
    bob.inbox.subscribe(({ pack }) => heard.push(pack));
    const kinds: string[] = [];
    bob.kv('g').watch('*', ({ kind }) => kinds.push(kind));
    await until(() => kinds.length === 1, 'the watch');
    await ada.notify('bob', 1);
    await ada.kv('g').set('k', 1);
    await until(() => heard.length === 1 && kinds.length === 2, 'what came before');
    await server.kill();
    const [trace, set, get] = [ada.notify('bob', 2, { suit: true }), ada.kv('g').set('x', 2), ada.kv('g').get('k')];
    await server.start();
    await Promise.all([trace, set]);
    expect(await get).toBe(1);
    expect(await ada.kv('g').getAll()).toEqual({ k: 1, x: 2 });
    await until(() => heard.length === 2, 'what came after');
    expect(heard).toEqual([1, 2]);
    expect(kinds.slice(0, 3)).toEqual(['following', 'set', 'following']);
    await bob.inbox.reply(await trace, 'yes');
    expect(await ada.inbox.replyTo(await trace)).toBe('yes');
    for (const client of [ada, bob]) client.close();
    await server.stop();
  });

  test('what a token does not allow is denied, and told where it was asked', async () => {
    const secret = randomBytes(32).toString('hex');
    const token = (sub: string, read: string[], write: string[]): string => {
      const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
      const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub, exp: Math.floor(Date.now() / 1000) + 600, tidewire: { read, write } })}`;
      return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
    };
    const server = await NativeServer.start({ TIDEWIRE_JWT_SECRET: secret });
    const client = await connect(server.url, { WebSocket, token: token('ada', ['kv:mine'], ['kv:mine']) });
    await client.kv('mine').set('k', 1);
    expect(await client.kv('mine').get('k')).toBe(1);
    await expect(client.kv('yours').set('k', 1)).rejects.toMatchObject({ code: 'forbidden' });
    await expect(client.kv('yours').get('k')).rejects.toMatchObject({ code: 'forbidden' });
    await expect(client.notify('bob', 1)).rejects.toMatchObject({ code: 'forbidden' });
    const denied: string[] = [];
    client.kv('yours').watch('*', () => {}, (error) => denied.push(error.code));
    await until(() => denied.length === 1, 'the denial');
    expect(denied).toEqual(['denied']);
    const pool = client.pool('p');
    pool.on('error', () => {});
    await expect(pool.ready()).rejects.toMatchObject({ code: 'denied' });
    // One's own mailbox needs no permission.
    let heard = 0;
    client.inbox.subscribe(() => heard++);
    expect(await client.inbox.status('0'.repeat(32))).toBeUndefined();
    const errors: string[] = [];
    const transport = new WebSocketTransport(client, { onError: ({ code }, key) => errors.push(`${code} ${key}`) });
    transport.subscribe('a', () => {});
    await expect(transport.ready('a')).rejects.toMatchObject({ code: 'denied' });
    transport.publish('b', { value: 1, sequence: 1 });
    await until(() => errors.length === 2, 'both errors');
    expect(errors.sort()).toEqual(['denied a', 'forbidden b']);
    expect(heard).toBe(0);
    client.close();
    await server.stop();
  });
}
