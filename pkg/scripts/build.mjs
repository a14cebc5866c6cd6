// Builds dist/ from src/ and from the generated modules in dist/wasm/: declarations by tsc, one bundle per entry point
// and environment by esbuild. Every bundle is whole, so that no import has an effect and `sideEffects: false` is true.

import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');

/** Each bundle: its entry point, the loader behind it, and what it must not contain. */
const BUNDLES = {
  browser: { entry: 'index', loader: 'browser' },
  'browser.development': { entry: 'index', loader: 'browser', development: true },
  node: { entry: 'index', loader: 'node', platform: 'node' },
  'node.development': { entry: 'index', loader: 'node', platform: 'node', development: true },
  workerd: { entry: 'index', loader: 'workerd' },
  inline: { entry: 'index', loader: 'inline' },
  standalone: { entry: 'standalone', loader: 'browser', whole: true },
  'server.browser': { entry: 'server/index', loader: 'server_browser', server: true },
  'server.node': { entry: 'server/index', loader: 'server_node', platform: 'node', server: true },
  'server.workerd': { entry: 'server/index', loader: 'server_workerd', server: true },
};

function fail(message) {
  console.error(`tidewire: ${message}`);
  process.exit(1);
}

/** Finds the loader of a bundle and the generated modules; keeps references to the wasm as they are. */
function resolver({ loader }) {
  return {
    name: 'tidewire',
    setup({ onResolve }) {
      onResolve({ filter: /^#(server-)?loader$/ }, () => ({ path: join(root, 'src/loader', `${loader}.ts`) }));
      onResolve({ filter: /^#glue\// }, ({ path }) => ({
        path: join(dist, 'wasm', path.slice('#glue/'.length), 'tidewire.js'),
      }));
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

await Promise.all(Object.entries(BUNDLES).map(([name, bundle]) => build({
  entryPoints: [join(root, 'src', `${bundle.entry}.ts`)],
  outfile: join(dist, `${name}.js`),
  bundle: true,
  format: 'esm',
  target: 'es2022',
  platform: bundle.platform ?? 'neutral',
  mainFields: ['module', 'main'],
  conditions: ['import'],
  // The signals must be the application's own copy, or its effects would not see ours.
  external: bundle.whole ? [] : ['@preact/signals-core'],
  loader: { '.wasm': 'base64' },
  minify: true,
  keepNames: false,
  // What the generated modules warn of, and what they do with a request or an answer of it, the loaders never ask for:
  // they hand over compiled modules.
  pure: ['console.warn'],
  define: { Request: 'undefined', Response: 'undefined', DEVELOPMENT: String(bundle.development ?? false) },
  sourcemap: true,
  legalComments: 'none',
  plugins: [resolver(bundle)],
  logLevel: 'warning',
}).catch(() => fail(`the bundle ${name}.js could not be made; the errors are above`))));

for (const name of ['LICENSE-MIT', 'LICENSE-APACHE']) copyFileSync(join(root, '..', name), join(dist, name));
