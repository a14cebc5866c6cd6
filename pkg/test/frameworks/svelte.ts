// The page of the countries in Svelte, also where a server has rendered it.

import { hydrate, mount, unmount } from 'svelte';
import App from './App.svelte';
import { run } from './page.js';

run({
  mount(target, client, state) {
    const options = { target, props: { client, ...(state === undefined ? {} : { state }) } };
    const app = state === undefined ? mount(App, options) : hydrate(App, options);
    return () => void unmount(app);
  },
});
