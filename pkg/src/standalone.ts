// For pages without a bundler: everything, with the signals in it.

export { batch, computed, effect, signal } from '@preact/signals-core';
export * from './index.js';
