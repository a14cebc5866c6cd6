// What a client makes of a link that is slow, and of one that a sleeping machine has lost.

import { afterEach, describe, expect, test, vi } from 'vitest';
import { connect, type Link } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { until } from './support.js';

/** A link to the server in the page that can be slow, or dead without saying so. */
class Tap implements Link {
  bufferedAmount = 0;
  isDead = false;
  sent = 0;
  onopen = null;
  onclose: Link['onclose'] = null;
  onerror = null;
  readonly #inner: Link;

  constructor(inner: Link) {
    this.#inner = inner;
    inner.onclose = (event) => { if (!this.isDead) this.onclose?.(event); };
  }

  get onmessage(): Link['onmessage'] { return this.#inner.onmessage; }

  set onmessage(handler: Link['onmessage']) {
    this.#inner.onmessage = handler && ((event) => { if (!this.isDead) handler(event); });
  }

  send(bytes: Uint8Array): void {
    this.sent++;
    if (!this.isDead) this.#inner.send(bytes);
  }

  close(code?: number, reason?: string): void { this.#inner.close(code, reason); }
}

function tapped(server: ReferenceServer): { links: Tap[]; link(): Link } {
  const links: Tap[] = [];
  return { links, link: () => { const tap = new Tap(server.link()); links.push(tap); return tap; } };
}

afterEach(() => void vi.useRealTimers());

describe('a link that has much to send', () => {
  test('is given nothing more until it has sent, and then all of it in order', async () => {
    const server = await ReferenceServer.create();
    const source = tapped(server);
    const client = await connect(source);
    const shown = client.synced<number>('n');
    await until(() => client.status().state === 'live', 'live');
    const [link] = source.links as [Tap];
    link.bufferedAmount = 1_000_000;
    const before = link.sent;
    const heard: (number | undefined)[] = [];
    shown.subscribe((n) => heard.push(n));
    const writes = [1, 2, 3].map((n) => client.put('n', n));
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(link.sent).toBe(before);
    link.bufferedAmount = 0;
    await Promise.all(writes);
    expect(heard.slice(-3)).toEqual([1, 2, 3]);
    client.close();
    server.close();
  });
});

describe('a machine that slept', () => {
  test('asks at once whether its link is alive, and takes another if nothing comes', async () => {
    vi.useFakeTimers();
    const server = await ReferenceServer.create();
    const source = tapped(server);
    const client = await connect(source);
    await vi.advanceTimersByTimeAsync(100);
    expect(client.status().state).toBe('live');
    source.links[0]!.isDead = true;
    vi.setSystemTime(Date.now() + 3_600_000);
    // Timers go on where the machine stopped them: 10 s until one fires, 5 s for the answer, half a second of backoff.
    await vi.advanceTimersByTimeAsync(15_600);
    expect(source.links).toHaveLength(2);
    expect(client.status().state).toBe('live');
    client.close();
    server.close();
  });

  test('keeps a link that answers', async () => {
    vi.useFakeTimers();
    const server = await ReferenceServer.create();
    const source = tapped(server);
    const client = await connect(source);
    await vi.advanceTimersByTimeAsync(100);
    const before = source.links[0]!.sent;
    vi.setSystemTime(Date.now() + 20_000);
    await vi.advanceTimersByTimeAsync(15_600);
    expect(source.links[0]!.sent).toBeGreaterThan(before);
    expect(source.links).toHaveLength(1);
    client.close();
    server.close();
  });
});

test('a client that cannot send says when it has taken enough writes', async () => {
  const mute = (): Link => ({ bufferedAmount: 0, readyState: 0, send() {}, close() {}, onopen: null, onmessage: null, onclose: null, onerror: null });
  const client = await connect({ link: mute });
  const writes = Array.from({ length: 10_001 }, (_, n) => client.put('n', n));
  await expect(writes.at(-1)).rejects.toMatchObject({ code: 'limit_exceeded', retryable: true });
  client.close();
  expect(new Set((await Promise.allSettled(writes.slice(0, -1))).map((write) => write.status))).toEqual(new Set(['rejected']));
});

/** A link of which the test is the server. */
class Stub implements Link {
  readonly bufferedAmount = 0;
  readonly sent: Uint8Array[] = [];
  readonly closed: (number | undefined)[] = [];
  binaryType = 'blob';
  onopen: Link['onopen'] = null;
  onmessage: Link['onmessage'] = null;
  onclose: Link['onclose'] = null;
  onerror = null;
  readonly isSlow: boolean;

  constructor(readonly readyState = 1, isSlow = false) {
    this.isSlow = isSlow;
  }

  send(bytes: Uint8Array): void {
    if (this.isSlow) throw new Error('not now');
    this.sent.push(bytes.slice());
  }

  close(code?: number): void { this.closed.push(code); }
}

async function stubbed(make: () => Stub = () => new Stub()): Promise<{ links: Stub[]; client: Awaited<ReturnType<typeof connect>> }> {
  const links: Stub[] = [];
  const client = await connect({ link: () => { const link = make(); links.push(link); return link; } });
  return { links, client };
}

describe('whatever is shaped like a socket', () => {
  test('is asked for buffers, and greeted as soon as it is open', async () => {
    const { links: [link], client } = await stubbed(() => new Stub(0));
    expect(link!.binaryType).toBe('arraybuffer');
    expect(link!.sent).toEqual([]);
    link!.onopen!();
    expect(link!.sent).toHaveLength(1);
    client.close();
    expect(link!.closed).toEqual([1000]);
  });

  test.each([
    ['text', 'hello' as never],
    ['an empty frame', new ArrayBuffer(0)],
    ['a frame over the limit', new ArrayBuffer(1024 * 1024 + 1)],
  ])('is closed and replaced when %s comes', async (_, data) => {
    const { links, client } = await stubbed();
    const heard = links[0]!.onmessage!;
    heard({ data });
    expect(links[0]!.closed).toHaveLength(1);
    expect(client.peekStatus().state).toBe('reconnecting');
    expect([links[0]!.onopen, links[0]!.onmessage, links[0]!.onclose]).toEqual([null, null, null]);
    await until(() => links.length === 2, 'another link');
    // What a socket still says when nobody listens any more is about nothing.
    heard({ data });
    expect(links[1]!.closed).toEqual([]);
    client.close();
  });

  test('is given up when it cannot send, and when it cannot be opened', async () => {
    let count = 0;
    const { links, client } = await stubbed(() => {
      count++;
      if (count === 2) throw new Error('no such host');
      return new Stub(1, count === 1);
    });
    expect(client.peekStatus()).toMatchObject({ state: 'reconnecting', reason: 'the link could not send' });
    await until(() => count === 2, 'the second try');
    expect(client.peekStatus()).toMatchObject({ state: 'reconnecting', reason: 'no such host' });
    await until(() => links.length === 2, 'the third try');
    expect(links[1]!.sent).toHaveLength(1);
    client.close();
  });
});
