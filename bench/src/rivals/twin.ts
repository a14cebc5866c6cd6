// The JS twin as one of those that hold records: replicas without a gate, from frames of JSON.

import { type AnswerMessage, TwinClient } from '../../../pkg/bench/twin.js';
import type { Follow } from './rival.js';

/** One frame a line. */
export const follow: Follow = (initial) => {
  const client = new TwinClient<string>((frame) => JSON.parse(frame) as AnswerMessage[]);
  const replicas = new Map<string, ReturnType<typeof client.subscribe>>();
  const subscribe = (id: string): void => void replicas.set(id, client.subscribe(id, undefined));
  for (const frame of (initial as string).split('\n')) {
    for (const [, subscription] of JSON.parse(frame) as AnswerMessage[]) subscribe(`item:${1000 + subscription}`);
    client.receive(frame);
  }
  return { receive() {}, read: (id) => replicas.get(id)!.get() };
};
