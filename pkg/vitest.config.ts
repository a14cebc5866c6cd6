import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

// The tests import the package by its name, as built; only those of `value/` and `schema` look inside.
export default defineConfig({
  resolve: {
    alias: [
      { find: /^tidewire$/, replacement: here('./dist/inline.js') },
      { find: /^tidewire\/inline$/, replacement: here('./dist/inline.js') },
      { find: /^tidewire\/testing$/, replacement: here('./dist/testing.js') },
      { find: /^tidewire\/nats$/, replacement: here('./dist/nats.js') },
      { find: /^tidewire\/server$/, replacement: here('./dist/server.inline.js') },
      { find: /^tidewire\/inspector$/, replacement: here('./dist/inspector.js') },
      { find: /^tidewire\/(react|vue|svelte|solid|signals|ssr|store)$/, replacement: here('./dist/$1.js') },
    ],
  },
  test: { include: ['test/**/*.test.ts'], testTimeout: 15_000, hookTimeout: 30_000, fileParallelism: false },
});
