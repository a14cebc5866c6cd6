// Tokens: who is asked for one when, and what becomes of a session whose token is refused or ends.

import { createHmac } from 'node:crypto';
import { WebSocket } from 'ws';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Client, connect, type ConnectOptions, type Link, type TokenReason } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { NativeServer, SERVER_BIN } from './native.js';
import { until } from './support.js';

const SECRET = '0123456789abcdef0123456789abcdef';
/** How much longer than its token a session may live at the server. */
const LEEWAY = 30;

/** A token of `user` that the server takes for so many seconds from now. */
function token(user: string, seconds: number, scopes: object = { read: ['*'], write: ['*'] }, secret = SECRET): string {
  const exp = Math.floor(Date.now() / 1_000) + seconds - LEEWAY;
  const parts = [{ alg: 'HS256', typ: 'JWT' }, { sub: user, exp, tidewire: scopes }];
  const signed = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

const clients: Client[] = [];
async function open(target: string | { link(): Link }, given: ConnectOptions['token']): Promise<Client> {
  const client = await connect(target, { token: given, WebSocket });
  clients.push(client);
  return client;
}
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

describe('a function that fetches tokens', () => {
  test('is called anew before every connection, and outside of the core', async () => {
    const server = await ReferenceServer.create();
    const links: Link[] = [];
    const source = { link: () => { const link = server.link(); links.push(link); return link; } };
    const asked: TokenReason[] = [];
    // It is called before `open` returns, and may use the client as soon as there is one.
    let opened: Client | undefined;
    const client = await open(source, (reason) => { asked.push(reason); opened?.status(); return `user ${asked.length}`; });
    opened = client;
    await until(() => client.status().state === 'live', 'live');
    links[0]!.close(4000);
    await until(() => links.length === 2 && client.status().state === 'live', 'live again');
    expect(asked).toEqual(['connect', 'connect']);
    server.close();
  });

  test('that fails is called again after a backoff, and the status says why', async () => {
    const server = await ReferenceServer.create();
    let fails = 3;
    const reasons = new Set<string>();
    const client = await open(server, async () => {
      if (fails-- > 0) throw new Error('the issuer is away');
      return 'user';
    });
    await until(() => {
      const status = client.status();
      if (status.state === 'reconnecting') reasons.add(status.reason);
      return status.state === 'live';
    }, 'live in the end');
    expect([...reasons]).toEqual(['no token came: the issuer is away']);
    server.close();
  });
});

if (SERVER_BIN !== undefined) {
  describe('the native server with a secret', () => {
    let server: NativeServer;
    beforeAll(async () => { server = await NativeServer.start({ TIDEWIRE_JWT_SECRET: SECRET }); });
    afterAll(() => server.stop());

    const closed = async (client: Client): Promise<string | undefined> => {
      await until(() => client.status().state === 'closed', 'closed');
      const status = client.status();
      return status.state === 'closed' ? status.error?.code : undefined;
    };

    test('ends a session whose text of a token is refused, at once', async () => {
      const client = await open(server.url, token('ada', 3_600, {}, 'f'.repeat(32)));
      expect(await closed(client)).toBe('unauthorized');
    });

    test('is given another token once where a function brings them, and then the session ends', async () => {
      const asked: TokenReason[] = [];
      const stale = await open(server.url, (reason) => {
        asked.push(reason);
        return token('ada', reason === 'refused' ? 3_600 : -1);
      });
      await until(() => stale.status().state === 'live', 'live with the second token');
      expect(asked).toEqual(['connect', 'refused']);
      const never = await open(server.url, () => token('ada', -1));
      expect(await closed(never)).toBe('unauthorized');
    });

    test('asks for another token before the end of one, and nobody notices', async () => {
      const asked: TokenReason[] = [];
      const states = new Set<string>();
      const client = await open(server.url, (reason) => {
        asked.push(reason);
        return token('ada', reason === 'expiring' ? 3_600 : 2);
      });
      await until(() => client.status().state === 'live', 'live');
      const end = Date.now() + 2_600;
      await until(() => states.add(client.status().state) && Date.now() > end, 'longer than the first token lives');
      expect([...states]).toEqual(['live']);
      expect(asked).toEqual(['connect', 'expiring']);
      await client.put('still:here', 1);
    });

    test('refuses what the token does not allow, and the session goes on', async () => {
      const client = await open(server.url, token('ada', 3_600, { read: ['object:mine'], write: ['object:mine'] }));
      await client.put('mine', 1);
      await expect(client.put('yours', 1)).rejects.toMatchObject({ code: 'forbidden', retryable: false });
      const yours = client.synced('yours');
      const denied = new Promise<unknown>((resolve) => yours.on('error', resolve));
      expect(await denied).toMatchObject({ code: 'denied' });
      expect(client.status().state).toBe('live');
    });
  });
}
