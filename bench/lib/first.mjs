// From nothing to the first record that can be read: each follower in a frame of its own, with a warm cache, in turns. The
// least that a page can do with the same wasm file is among them.

import { prepared } from './followers.mjs';

/** Records of the ones that are compared with each other. */
const RECORDS = 1000;

const STARTS = [
  { id: 'bare', label: 'the same wasm file, instantiateStreaming alone', module: null, count: 0 },
  { id: 'tidewire-objects', label: 'Tidewire, one replica', module: 'tidewire-objects', count: 1 },
  { id: 'twin', label: 'JS twin, one replica', module: 'twin', count: 1, isText: true },
  { id: 'tidewire-records', label: `Tidewire, a datastore of ${RECORDS}`, module: 'tidewire-records', count: RECORDS },
  { id: 'yjs', label: `Yjs, ${RECORDS} records`, module: 'yjs', count: RECORDS },
  { id: 'loro', label: `Loro, ${RECORDS} records`, module: 'loro', count: RECORDS },
  { id: 'automerge', label: `Automerge, ${RECORDS} records`, module: 'automerge', count: RECORDS },
  { id: 'tinybase', label: `TinyBase, ${RECORDS} records`, module: 'tinybase', count: RECORDS, isText: true },
  { id: 'tanstack', label: `TanStack DB, ${RECORDS} records`, module: 'tanstack', count: RECORDS, isText: true },
];

const BARE = `
  const began = performance.now();
  const functions = new Proxy({}, { get: () => () => {} });
  await WebAssembly.instantiateStreaming(fetch('/wasm/client/tidewire_bg.wasm'), new Proxy({}, { get: () => functions }));
  done(performance.now() - began);`;

const follow = (module, path, isText) => `
  const response = await fetch('${path}');
  const initial = ${isText ? 'await response.text()' : 'new Uint8Array(await response.arrayBuffer())'};
  const began = performance.now();
  const { init, follow } = await import('/first-${module}.js');
  await init?.();
  const { id } = (await follow(initial)).read('item:1000');
  const took = performance.now() - began;
  if (id !== 'item:1000') throw new Error('not the first record');
  done(took);`;

/** Milliseconds per start, round by round. */
export async function first({ browser, url, rounds, warmUp = 2 }) {
  const starts = await Promise.all(STARTS.map(async ({ id, label, module, count, isText }) => ({
    id, label, script: module === null ? BARE : follow(module, `/${await prepared(module, count)}`, isText ?? false),
  })));
  const page = await browser.newPage();
  try {
    await page.goto(url);
    return await page.evaluate(async (starts, rounds, warmUp) => {
      const start = (script) => new Promise((resolve, reject) => {
        const frame = document.createElement('iframe');
        frame.src = '/';
        frame.onload = () => {
          const { contentWindow, contentDocument } = frame;
          const end = (settle) => (value) => {
            frame.remove();
            settle(value);
          };
          contentWindow.done = end(resolve);
          contentWindow.onunhandledrejection = ({ reason }) => end(reject)(reason);
          contentWindow.onerror = end(reject);
          const element = contentDocument.createElement('script');
          element.type = 'module';
          element.textContent = script;
          contentDocument.head.append(element);
        };
        document.body.append(frame);
      });
      const times = starts.map(() => []);
      for (let round = 0; round < warmUp + rounds; round++) {
        for (let turn = 0; turn < starts.length; turn++) {
          const which = (turn + round) % starts.length;
          globalThis.gc?.();
          const took = await start(starts[which].script);
          if (round >= warmUp) times[which].push(took);
        }
      }
      return starts.map(({ id, label }, which) => ({ id, label, milliseconds: times[which] }));
    }, starts, rounds, warmUp);
  } finally {
    await page.close();
  }
}
