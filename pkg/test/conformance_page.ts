// The suite of transports in a browser: the server that serves this page is the one that relays, and is told the result.

import { connect, init, InProcessTransport, WebSocketTransport } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { describeTransport } from './conformance.js';
import { runPlanned } from './page_vitest.js';

const engine = new URLSearchParams(location.search).get('engine') ?? 'browser';
const url = `ws://${location.host}/v1/sync`;
let result: unknown;
try {
  await init();
  describeTransport('plain calls', () => {
    const transport = new InProcessTransport();
    return { transport: async () => transport, stop() {} };
  });
  const over = (target: () => Promise<string | ReferenceServer>) => async () => {
    const made: WebSocketTransport[] = [];
    const server = await target();
    return {
      async transport() {
        const transport = await WebSocketTransport.connect(server);
        made.push(transport);
        return transport;
      },
      stop() {
        for (const transport of made) transport.close();
        if (typeof server !== 'string') server.close();
      },
    };
  };
  describeTransport('a WebSocket of this browser', over(async () => url));
  describeTransport('the server in the page', over(() => ReferenceServer.create()));
  result = await runPlanned();
} catch (error) {
  result = { checks: 0, faults: [`${engine}: ${String(error)}`] };
}
const reporter = await connect(url);
await reporter.put(`result:${engine}`, result);
reporter.close();
