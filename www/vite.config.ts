import { defineConfig } from 'vite'

export default defineConfig({
  // The host may mount the page anywhere: every address in the build is relative.
  base: './',
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
