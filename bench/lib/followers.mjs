// Who holds records, and the files that each begins from.

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const run = promisify(execFile);

/** Longer than anybody should need; who does takes part with fewer records. */
export const PATIENCE = 60_000;

export const FOLLOWERS = [
  { id: 'tidewire-objects', label: 'Tidewire, a replica each' },
  { id: 'twin', label: 'JS twin, a replica each', isText: true },
  { id: 'tidewire-records', label: 'Tidewire, one datastore' },
  { id: 'yjs', label: 'Yjs' },
  { id: 'loro', label: 'Loro' },
  { id: 'automerge', label: 'Automerge' },
  { id: 'tinybase', label: 'TinyBase', isText: true },
  { id: 'tanstack', label: 'TanStack DB', isText: true },
];

/** The file of `count` records, relative to the site; `undefined` if it takes too long to write. */
export async function prepared(id, count) {
  const path = `initial/${id}-${count}.bin`;
  const file = join(root, 'dist/web', path);
  if (existsSync(file)) return path;
  mkdirSync(dirname(file), { recursive: true });
  try {
    await run(process.execPath, ['--max-old-space-size=4096', join(root, 'lib/prepare.mjs'), id, String(count), file], {
      // Ours and the twin take part whole, however busy the machine is.
      timeout: /^(tidewire|twin)/.test(id) ? 5 * PATIENCE : PATIENCE,
    });
  } catch (error) {
    if (error.killed) return undefined;
    throw error;
  }
  return path;
}
