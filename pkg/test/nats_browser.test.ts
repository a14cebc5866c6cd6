// The transport in a browser: headless Chromium over nats-server's WebSocket, beside a process in Node over TCP.

import { connect } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import { type Envelope } from 'tidewire';
import { msgpackCodec, natsConnection, NatsTransport } from 'tidewire/nats';
import { openPage } from './browser.js';
import type { NatsPage } from './nats_page.js';
import { NatsServer } from './nats_server.js';
import { until } from './support.js';

declare const natsPage: NatsPage;

const KEY = 'user:1 and more';

test('Chromium and Node share keys, recover from gaps and outlive a restart of nats-server', async () => {
  const server = await NatsServer.start();
  const nats = await connect({ servers: server.url, reconnectTimeWait: 50, maxReconnectAttempts: -1 });
  const transport = new NatsTransport({ connection: natsConnection(nats), codec: msgpackCodec });
  const { page, errors, close } = await openPage(new URL('nats_page.ts', import.meta.url));
  try {
    const heard: Envelope[] = [];
    transport.subscribe(KEY, (envelope) => heard.push(envelope));
    await nats.flush();
    await page.evaluate((url) => natsPage.join(url), server.webSocketUrl);
    await page.evaluate((key) => natsPage.follow(key), KEY);
    const shown = () => page.evaluate(() => natsPage.shown());
    const showing = async (sequence: number, limit = 10_000): Promise<void> => {
      const end = Date.now() + limit;
      while ((await shown()).sequence !== sequence) {
        if (Date.now() > end) throw new Error(`the page does not show ${sequence}: ${JSON.stringify(await shown())}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };

    await page.evaluate((key) => natsPage.publish(key, 1), KEY);
    await until(() => heard.length === 1, 'the envelope from the page');
    expect(heard[0]).toEqual({ value: { id: 2n ** 60n + 1n }, schema_version: '1.0', sequence: 1 });
    await showing(1);

    transport.publish(KEY, { value: { id: 7n }, schema_version: '1.0', sequence: 2 });
    await showing(2);
    expect(await shown()).toMatchObject({ id: '7', status: 'ok', keys: 1, gaps: 0 });

    await page.evaluate(() => natsPage.snapshot(6));
    transport.publish(KEY, { value: { id: 8n }, sequence: 6 });
    await showing(6);
    expect(await shown()).toMatchObject({ status: 'ok', gaps: 1, id: (2n ** 60n + 6n).toString() });

    await server.kill();
    await page.evaluate(() => natsPage.snapshot(9));
    await server.start();
    await showing(9);
    expect(await page.evaluate(() => natsPage.leave())).toBe(0);
    expect(errors).toEqual([]);
  } finally {
    await close();
    await nats.close();
    await server.stop();
  }
}, 60_000);

test('in Chromium the transport does what every transport does', async () => {
  const server = await NatsServer.start();
  const { page, errors, close } = await openPage(new URL('nats_page.ts', import.meta.url));
  try {
    const { checks, faults } = await page.evaluate((url) => natsPage.conformance(url), server.webSocketUrl);
    expect(faults).toEqual([]);
    expect(checks).toBeGreaterThan(30);
    expect(errors).toEqual([]);
  } finally {
    await close();
    await server.stop();
  }
}, 60_000);
