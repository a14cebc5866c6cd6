// What a page downloads to show records: the bundle as esbuild makes it, and the wasm file, each after brotli 11.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants } from 'node:zlib';
import { FOLLOWERS } from './followers.mjs';

const web = join(dirname(fileURLToPath(import.meta.url)), '../dist/web');
const WASM = { 'tidewire-records': 'client/tidewire_bg', loro: 'loro', automerge: 'automerge' };

const compressed = (file) => brotliCompressSync(readFileSync(join(web, file)), {
  params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 },
}).length;

/** Bytes per library. */
export function downloads() {
  return FOLLOWERS.filter(({ id }) => id !== 'tidewire-objects' && id !== 'twin').map(({ id, label }) => ({
    id, label: label.replace(', one datastore', ''), script: compressed(`first-${id}.js`), wasm: WASM[id] ? compressed(`wasm/${WASM[id]}.wasm`) : 0,
  }));
}
