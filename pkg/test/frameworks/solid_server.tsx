/** @jsxImportSource solid-js */
// The countries in Solid, rendered on a server.

import { generateHydrationScript, renderToStringAsync } from 'solid-js/web';
import type { DehydratedState } from 'tidewire';
import { TidewireProvider } from 'tidewire/solid';
import { Countries } from './SolidCountries.js';

export async function render(state: DehydratedState): Promise<{ body: string; head: string }> {
  const body = await renderToStringAsync(() => <TidewireProvider state={state}><Countries /></TidewireProvider>);
  return { body, head: generateHydrationScript() };
}
