// Bundles the benchmark: one set of modules for browsers, one for Node. Contestants are whole bundles, so that an instance
// of one shares no code with any other. Run by itself, it fills dist/.

import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(fileURLToPath(import.meta.url));
const pkg = join(root, '../pkg');
const modules = join(root, '../node_modules');
const MODULES = ['runner', 'tidewire', 'twin', 'rivals/yjs', 'rivals/loro', 'rivals/automerge', 'rivals/tinybase', 'rivals/tanstack'];

/** The wasm files that contestants fetch, by the names that they ask for. */
const WASM = {
  loro: join(modules, 'loro-crdt/web/loro_wasm_bg.wasm'),
  automerge: join(modules, '@automerge/automerge/dist/automerge.wasm'),
};

/** Takes the package's sources in place of its bundles, so that profiles know its functions by their names. */
const sources = {
  name: 'sources',
  setup({ onResolve }) {
    onResolve({ filter: /^tidewire$/ }, () => ({ path: join(pkg, 'src/index.ts') }));
    onResolve({ filter: /^#loader$/ }, () => ({ path: join(pkg, 'src/loader/node.ts') }));
    onResolve({ filter: /^#glue\// }, ({ path }) => ({ path: join(pkg, 'dist/wasm', path.slice('#glue/'.length), 'tidewire.js') }));
  },
};

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
    entryPoints: MODULES.map((name) => ({ in: join(root, 'src', `${name}.ts`), out: basename(name) })),
    outdir,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    platform,
    conditions: [platform, 'import'],
    mainFields: ['module', 'main'],
    external: ['*.wasm', 'node:*'],
    minify: platform === 'browser',
    legalComments: 'none',
    logLevel: 'warning',
    plugins: named === undefined ? [] : [sources],
  });
  // Where the package's loader looks for it: beside the bundle that holds the loader.
  cpSync(wasm, join(outdir, 'wasm/client/tidewire_bg.wasm'));
  for (const [name, file] of Object.entries(WASM)) cpSync(file, join(outdir, `wasm/${name}.wasm`));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await bundle('browser', join(root, 'dist/web'));
  await bundle('node', join(root, 'dist/node'));
}
