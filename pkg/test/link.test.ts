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
