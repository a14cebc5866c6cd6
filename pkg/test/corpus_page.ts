// The corpus in a browser: the server that serves this page is the one it goes through, and is told the result.

import { connect, init } from 'tidewire';
import { runCorpus } from './corpus.js';

const engine = new URLSearchParams(location.search).get('engine') ?? 'browser';
const url = `ws://${location.host}/v1/sync`;
let result: unknown;
try {
  await init();
  result = await runCorpus(() => connect(url), url, WebSocket, engine);
} catch (error) {
  result = { checks: 0, faults: [`${engine}: ${String(error)}`] };
}
const reporter = await connect(url);
await reporter.put(`result:${engine}`, result);
reporter.close();
