// The countries in Vue, rendered on a server.

import type { DehydratedState } from 'tidewire';
import { createTidewire } from 'tidewire/vue';
import { createSSRApp } from 'vue';
import { renderToString } from 'vue/server-renderer';
import Countries from './Countries.vue';

export async function render(state: DehydratedState): Promise<{ body: string }> {
  return { body: await renderToString(createSSRApp(Countries).use(createTidewire({ state }))) };
}
