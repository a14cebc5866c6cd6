// Builds dist/ from src/ and from the generated modules in dist/wasm/: declarations by tsc, one bundle per entry point
// and environment by esbuild. Every bundle is whole, so that no import has an effect and `sideEffects: false` is true.

import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');

/** Each bundle: its entry point, the loader behind it, and whether programs `require` it, too. */
const BUNDLES = {
  browser: { entry: 'index', loader: 'browser' },
  'browser.development': { entry: 'index', loader: 'development', development: true },
  workerd: { entry: 'index', loader: 'workerd' },
  inline: { entry: 'index', loader: 'inline', required: true, alone: true },
  slim: { entry: 'slim', loader: 'slim', required: true },
  standalone: { entry: 'standalone', loader: 'browser', whole: true, alone: true },
  'server.browser': { entry: 'server/index', loader: 'server_browser' },
  'server.inline': { entry: 'server/index', loader: 'server_inline', required: true },
  'server.workerd': { entry: 'server/index', loader: 'server_workerd' },
  testing: { entry: 'testing/index', loader: 'server_inline', required: true },
  nats: { entry: 'nats/index', loader: 'slim', required: true },
  inspector: { entry: 'inspector/index', loader: 'browser', required: true },
  library: { entry: 'gate/library', loader: 'browser' },
  store: { entry: 'store/index', required: true },
  ssr: { entry: 'ssr', required: true },
  // Hooks run on clients only: frameworks with server components have to be told.
  react: { entry: 'react', required: true, adapter: true, banner: "'use client';" },
  vue: { entry: 'vue', required: true, adapter: true },
  svelte: { entry: 'svelte', required: true, adapter: true },
  solid: { entry: 'solid', required: true, adapter: true },
  signals: { entry: 'signals', required: true, adapter: true },
};

/** What must be the application's own copy: its effects and components would not see those of another one. */
const OWN = ['@preact/signals-core', 'react', 'vue', 'svelte', 'svelte/reactivity', 'solid-js', 'signal-polyfill'];

function fail(message) {
  console.error(`tidewire: ${message}`);
  process.exit(1);
}

/** A generated module, without what nobody asks it for, as a function `glue` that returns what the module exports. */
async function factory(path) {
  const { outputFiles: [{ text }] } = await build({
    stdin: { contents: `export { Core, initSync } from ${JSON.stringify(path)};`, resolveDir: root },
    bundle: true, write: false, format: 'esm', logLevel: 'error',
  });
  const inner = text.replace(/^export \{\s*Core,\s*initSync\s*\};$/m, 'return { Core, initSync };');
  if (/^export |^import /m.test(inner) || inner === text) fail('the generated module of the client has another form than before');
  return `export function glue(host) {\n${inner}\n}\n`;
}

/** Finds the loader of a bundle and the generated modules; keeps references to the wasm as they are. */
function resolver({ loader, alone, adapter }, extension) {
  return {
    name: 'tidewire',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^#(server-)?loader$/ }, () => ({ path: join(root, 'src/loader', `${loader}.ts`) }));
      // The client's as a function that makes one module after another: what a trap leaves behind is of no use.
      onLoad({ filter: /wasm[\\/]client[\\/]tidewire\.js$/ }, async ({ path }) => ({ contents: await factory(path), loader: 'js' }));
      onResolve({ filter: /^#glue\// }, ({ path }) => ({
        path: join(dist, 'wasm', path.slice('#glue/'.length), 'tidewire.js'),
      }));
      // What few pages need is a file of its own, but for bundles that are to be the only one.
      onResolve({ filter: /\/library\.js$/ }, ({ kind }) => (
        kind === 'dynamic-import' && !alone ? { path: './library.js', external: true } : undefined
      ));
      // All adapters in a page share the replicas of its clients.
      onResolve({ filter: /\/store\/index\.js$/ }, () => (adapter ? { path: `./store.${extension}`, external: true } : undefined));
      if (extension === 'cjs') onResolve({ filter: /^@preact\/signals-core$/ }, () => ({ path: './cells.cjs', external: true }));
      onResolve({ filter: /\.wasm$/ }, ({ path }) => ({ path, external: true }));
      onResolve({ filter: /\.wasm\?base64$/ }, ({ path }) => ({
        path: join(dist, path.replace('?base64', '')),
        namespace: 'file',
      }));
    },
  };
}

for (const part of ['client', 'server']) {
  if (!existsSync(join(dist, 'wasm', part, 'tidewire_bg.wasm'))) {
    fail(`pkg/dist/wasm/${part} is missing; run \`cargo xtask build\`, which makes it and then calls this script`);
  }
}

rmSync(join(dist, 'types'), { recursive: true, force: true });
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
try {
  execFileSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json')], { stdio: 'inherit' });
} catch {
  fail('the declarations could not be made; the errors are above');
}

async function bundle(name, options, format) {
  const { entry, whole, banner, development = false } = options;
  const extension = format === 'cjs' ? 'cjs' : 'js';
  const file = `${name}.${extension}`;
  await build({
    entryPoints: [join(root, 'src', `${entry}.ts`)],
    outfile: join(dist, file),
    bundle: true,
    target: 'es2022',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    conditions: ['import'],
    external: whole ? [] : OWN,
    ...(banner === undefined ? {} : { banner: { js: banner } }),
    loader: { '.wasm': 'base64' },
    minify: true,
    keepNames: false,
    // What the generated modules warn of, and what they do with a request or an answer of it, the loaders never ask
    // for: they hand over compiled modules.
    pure: ['console.warn'],
    format,
    define: { Request: 'undefined', Response: 'undefined', DEVELOPMENT: String(development), ...(format === 'cjs' ? { 'import.meta.url': '""' } : {}) },
    sourcemap: true,
    legalComments: 'none',
    plugins: [resolver(options, extension)],
    logLevel: 'warning',
  }).catch(() => fail(`the bundle ${file} could not be made; the errors are above`));
}

await Promise.all(Object.entries(BUNDLES).flatMap(([name, options]) => [
  bundle(name, options, 'esm'),
  ...(options.required ? [bundle(name, options, 'cjs')] : []),
]));

// Where programs `require`, the signals are looked for once: Jest with jsdom finds only a module that it cannot require, and
// gets a copy.
await build({
  stdin: { contents: "try { module.exports = require('@preact/signals-core'); } catch { module.exports = require('copy'); }" },
  outfile: join(dist, 'cells.cjs'),
  bundle: true,
  format: 'cjs',
  target: 'es2022',
  minify: true,
  plugins: [{
    name: 'copy',
    setup({ onResolve }) {
      onResolve({ filter: /^copy$/ }, () => ({ path: createRequire(import.meta.url).resolve('@preact/signals-core') }));
      onResolve({ filter: /^@preact/ }, () => ({ external: true }));
    },
  }],
}).catch(() => fail('the bundle cells.cjs could not be made; the errors are above'));

// Jest with jsdom asks for what a browser would load, has to have it as CommonJS, and lacks what texts are encoded with.
for (const [name, file] of Object.entries({ jsdom: 'inline', 'server.jsdom': 'server.inline', 'testing.jsdom': 'testing' })) {
  writeFileSync(join(dist, `${name}.cjs`), `'use strict';
const { TextDecoder, TextEncoder } = require('node:util');
globalThis.TextDecoder ??= TextDecoder;
globalThis.TextEncoder ??= TextEncoder;
module.exports = require('./${file}.cjs');
`);
}

// The same declarations for `require`: TypeScript goes by the extension. Before 5.7 it knew no arrays of one kind of buffer.
const types = join(dist, 'types');
for (const file of readdirSync(types, { recursive: true }).filter((name) => name.endsWith('.d.ts'))) {
  const text = readFileSync(join(types, file), 'utf8').replace(/\b(Uint(?:8|32)Array)<ArrayBuffer>/g, '$1');
  writeFileSync(join(types, file), text);
  writeFileSync(join(types, file.replace(/\.d\.ts$/, '.d.cts')), text.replace(/(from\s+|import\()(['"])(\.[^'"]*)\.js\2/g, '$1$2$3.cjs$2'));
}

for (const name of ['LICENSE-MIT', 'LICENSE-APACHE']) copyFileSync(join(root, '..', name), join(dist, name));
