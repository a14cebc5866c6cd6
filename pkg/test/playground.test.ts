// The playground's network: as bad as it is told to be, by dice that a seed throws, and never to what is no envelope.

import { afterEach, expect, test } from 'vitest';
import { type Client, connect } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { Network, type Passage, type Weather } from '../../www/src/playground/network.js';
import { until } from './support.js';

const CALM: Weather = { loss: 0, delay: 0, duplication: 0, reordering: 0 };
const clients: Client[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

/** A client behind such a network, after `count` changes; and what became of each. */
async function behind(weather: Weather, seed: number, count: number) {
  const server = await ReferenceServer.create({ seed: 1 });
  const passages: Passage[] = [];
  // Answers have no fate of their own.
  const network = new Network(server, { seed, onPassage: (passage) => void (passage.fate !== 'answer' && passages.push(passage)) });
  const client = await connect(network);
  clients.push(client);
  const replica = client.synced<number>('k');
  server.put('k', 0);
  await replica.ready();
  passages.length = 0;
  network.weather = weather;
  for (let n = 1; n <= count; n++) server.put('k', n);
  await until(() => new Set(passages.map(({ sequence }) => sequence)).size >= count, 'every change on its way');
  return { server, network, client, replica, passages };
}

test('in calm weather every envelope arrives once, in order', async () => {
  const { replica, passages } = await behind(CALM, 7, 20);
  await until(() => replica.peek() === 20, 'the last value');
  expect(passages.every(({ fate }) => fate === 'arrives')).toBe(true);
  expect(replica.stats).toMatchObject({ gaps: 0, ignoredStale: 0 });
});

test('the same seed is the same weather, another one is another', async () => {
  const bad: Weather = { loss: 0.3, delay: 1, duplication: 0.3, reordering: 0 };
  const fates = async (seed: number): Promise<string> => {
    const { passages } = await behind(bad, seed, 20);
    return passages.slice(0, 20).map(({ sequence, fate }) => `${sequence} ${fate}`).join();
  };
  const first = await fates(7);
  expect(await fates(7)).toBe(first);
  expect(await fates(8)).not.toBe(first);
});

test('what is lost and doubled shows in the replica, which ends where the server is', async () => {
  const { server, network, replica } = await behind({ loss: 0.3, delay: 1, duplication: 0.4, reordering: 0 }, 7, 40);
  network.weather = CALM;
  server.put('k', 41);
  await until(() => replica.peek() === 41 && replica.peekMeta().status === 'ok', 'the last value');
  expect(replica.stats.gaps).toBeGreaterThan(0);
  expect(replica.stats.ignoredStale).toBeGreaterThan(0);
});

test('the next envelope can be lost or doubled on purpose, and only that one', async () => {
  const { server, network, replica, passages } = await behind(CALM, 7, 1);
  network.doom('lost');
  server.put('k', 'lost');
  server.put('k', 'after');
  await until(() => (replica.peek() as unknown) === 'after' && replica.peekMeta().status === 'ok', 'the gap is closed');
  expect(replica.stats).toMatchObject({ gaps: 1, refetches: 1 });
  const { ignoredStale } = replica.stats;
  network.doom('doubled');
  server.put('k', 'twice');
  server.put('k', 'once');
  await until(() => replica.stats.ignoredStale > ignoredStale && (replica.peek() as unknown) === 'once', 'the copy and what comes after');
  expect(replica.stats).toMatchObject({ gaps: 1, ignoredStale: ignoredStale + 1 });
  expect(passages.filter(({ fate }) => fate !== 'arrives').map(({ fate }) => fate)).toEqual(['lost', 'copy']);
});

test('after a restart the client is back as soon as the server is', async () => {
  const { network, client, server, replica } = await behind(CALM, 7, 1);
  network.cut(700);
  await until(() => client.peekStatus().state !== 'live', 'the client notices');
  server.put('k', 'meanwhile');
  expect(replica.peek()).toBe(1);
  await until(() => client.peekStatus().state === 'live', 'the client is back', 2_000);
  await until(() => (replica.peek() as unknown) === 'meanwhile', 'what was missed');
});
