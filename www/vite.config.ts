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

export default defineConfig({
  // The host may mount the page anywhere: every address in the build is relative.
  base: './',
  plugins: [preloadFont()],
  resolve: {
    // Two copies of the signals library would not see each other's reads.
    dedupe: ['@preact/signals-core'],
  },
  build: {
    target: 'es2022',
    // A wasm file must stay a file: streaming compilation needs its own response.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    // The built page is served by the native server itself; while developing, that server runs beside Vite.
    proxy: { '/v1': { target: 'http://127.0.0.1:4400', ws: true } },
  },
})
