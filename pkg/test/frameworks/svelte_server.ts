// The countries in Svelte, rendered on a server.

import { render as renderApp } from 'svelte/server';
import type { DehydratedState } from 'tidewire';
import App from './App.svelte';

export async function render(state: DehydratedState): Promise<{ body: string; head: string }> {
  const { body, head } = await renderApp(App, { props: { state } });
  return { body, head };
}
