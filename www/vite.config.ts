import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vite'

/** The text font is known only after the style sheet and the script: without this it comes too late for the first paint. */
function preloadFont(): Plugin {
  return {
    name: 'preload-font',
    transformIndexHtml: {
      order: 'post',
      handler: (_, { bundle }) =>
        Object.keys(bundle ?? {})
          .filter((file) => /sans-latin-wdth-normal.*\.woff2$/.test(file))
          .map((file) => ({
            tag: 'link',
            attrs: { rel: 'preload', as: 'font', type: 'font/woff2', crossorigin: '', href: `./${file}` },
            injectTo: 'head-prepend' as const,
          })),
    },
  }
}

/** What a visitor's browser needs to run the benchmark, as the benchmark's own build made it. */
const BENCH = ['runner.js', 'tidewire.js', 'twin.js', 'wasm/client/tidewire_bg.wasm']

/** Puts the benchmark's modules beside the page. They are no part of its graph: each contestant is imported many times. */
function benchmark(): Plugin {
  return {
    name: 'benchmark',
    apply: 'build',
    generateBundle() {
      for (const name of BENCH) {
        const file = fileURLToPath(new URL(`../bench/dist/web/${name}`, import.meta.url))
        try {
          this.emitFile({ type: 'asset', fileName: `bench/${name}`, source: readFileSync(file) })
        } catch {
          this.error(`${file} is missing; run \`npm run build --workspace bench\` first`)
        }
      }
    },
  }
}

const page = (name: string): string => fileURLToPath(new URL(`${name}.html`, import.meta.url))

// The benchmark's page is built apart, by `--mode bench`: what it shares with the others would be one more file for them to load.
export default defineConfig(({ mode }) => ({
  // The host may mount the page anywhere: every address in the build is relative.
  base: './',
  plugins: mode === 'bench' ? [preloadFont(), benchmark()] : [preloadFont()],
  resolve: {
    // Two copies of the signals library would not see each other's reads.
    dedupe: ['@preact/signals-core'],
  },
  build: {
    target: 'es2022',
    ...(mode === 'bench' && { emptyOutDir: false }),
    rolldownOptions: { input: mode === 'bench' ? page('bench') : { index: page('index'), countries: page('countries') } },
    // A wasm file must stay a file: streaming compilation needs its own response.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    // The built page is served by the native server itself; while developing, that server runs beside Vite.
    proxy: { '/v1': { target: 'http://127.0.0.1:4400', ws: true } },
  },
}))
