// Bundles the benchmark: one set of modules for browsers, one for Node. Contestants are whole bundles, so that an instance
// of one shares no code with any other. Run by itself, it fills dist/.

import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(fileURLToPath(import.meta.url));
const pkg = join(root, '../pkg');
const modules = join(root, '../node_modules');
/** Libraries that one could pick instead. */
const RIVALS = ['yjs', 'loro', 'automerge', 'tinybase', 'tanstack'];

/** Those of them that load a wasm file. */
const LOADED = new Set(['loro', 'automerge']);

/** What is written here in place of a file: each bundle's name and source. */
const WRITTEN = Object.fromEntries([
  // A library as a contestant on the hot path.
  ...RIVALS.map((name) => [name, `
    import * as engine from './rivals/${name}.ts';
    import { contestant } from './rivals/rival.ts';
    export const open = contestant(engine);
    export { drive } from './contestant.ts';
    export { shapes } from './records.ts';`]),
  // The least that shows records: for memory, start and download.
  ...RIVALS.map((name) => [`first-${name}`, `export { follow${LOADED.has(name) ? ', init' : ''} } from './rivals/${name}.ts';`]),
  ['first-twin', `export { follow } from './rivals/twin.ts';`],
  ['first-tidewire-records', `export { followRecords as follow, init } from './rivals/tidewire.ts';`],
  ['first-tidewire-objects', `export { followObjects as follow, init } from './rivals/tidewire.ts';`],
]);

const written = {
  name: 'written',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^written:/ }, ({ path }) => ({ path: path.slice('written:'.length), namespace: 'written' }));
    onLoad({ filter: /.*/, namespace: 'written' }, ({ path }) => ({ contents: WRITTEN[path], resolveDir: join(root, 'src'), loader: 'ts' }));
  },
};

/** The wasm files that contestants fetch, by the names that they ask for. */
const WASM = {
  loro: join(modules, 'loro-crdt/web/loro_wasm_bg.wasm'),
  automerge: join(modules, '@automerge/automerge/dist/automerge.wasm'),
};

/** Takes the package's sources in place of its bundles, and this wasm file, so that profiles know functions by name. */
const sources = (wasm) => ({
  name: 'sources',
  setup({ onResolve, onLoad }) {
    // The client's generated module is a function, as in the package.
    onLoad({ filter: /wasm[\\/]client[\\/]tidewire\.js$/ }, ({ path }) => {
      const inner = readFileSync(path, 'utf8').replace('export class Core', 'class Core').replace(/^export \{ initSync.*$/m, 'return { Core, initSync };');
      return { contents: `export function glue(host) {\n${inner}\n}\n`, loader: 'js' };
    });
    onResolve({ filter: /^tidewire$/ }, () => ({ path: join(pkg, 'src/index.ts') }));
    onResolve({ filter: /^#loader$/ }, () => ({ path: join(pkg, 'src/loader/inline.ts') }));
    onResolve({ filter: /^#glue\// }, ({ path }) => ({ path: join(pkg, 'dist/wasm', path.slice('#glue/'.length), 'tidewire.js') }));
    onResolve({ filter: /\.wasm\?base64$/ }, () => ({ path: wasm }));
  },
});

/** Bundles for `platform` into `outdir`; `named` keeps the names of functions, and takes the wasm file given. */
export async function bundle(platform, outdir, named) {
  const wasm = named ?? join(pkg, 'dist/wasm/client/tidewire_bg.wasm');
  if (!existsSync(wasm)) {
    console.error(`${wasm} is missing; run \`cargo xtask build\` first`);
    process.exit(1);
  }
  rmSync(outdir, { recursive: true, force: true });
  mkdirSync(outdir, { recursive: true });
  await build({
    entryPoints: [
      ...['runner', 'tidewire', 'twin', 'check', ...(platform === 'node' ? ['prepare'] : [])]
        .map((name) => ({ in: join(root, 'src', `${name}.ts`), out: name })),
      ...Object.keys(WRITTEN).map((name) => ({ in: `written:${name}`, out: name })),
    ],
    outdir,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    platform,
    conditions: [platform, 'import'],
    mainFields: ['module', 'main'],
    external: [...(named === undefined ? ['*.wasm'] : []), 'node:*'],
    loader: { '.wasm': 'base64' },
    minify: platform === 'browser' && named === undefined,
    legalComments: 'none',
    logLevel: 'warning',
    plugins: named === undefined ? [written] : [written, sources(named)],
  });
  // Where the package's loader looks for it: beside the bundle that holds the loader.
  cpSync(wasm, join(outdir, 'wasm/client/tidewire_bg.wasm'));
  for (const [name, file] of Object.entries(WASM)) cpSync(file, join(outdir, `wasm/${name}.wasm`));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await bundle('browser', join(root, 'dist/web'));
  await bundle('node', join(root, 'dist/node'));
}
