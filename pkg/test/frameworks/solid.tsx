/** @jsxImportSource solid-js */
// The page of the countries in Solid, also where a server has rendered it.

import type { JSX } from 'solid-js';
import { hydrate, render } from 'solid-js/web';
import { TidewireProvider } from 'tidewire/solid';
import { run } from './page.js';
import { Countries } from './SolidCountries.js';

run({
  mount(root, client, state) {
    const app = (): JSX.Element => <TidewireProvider client={client} state={state}><Countries /></TidewireProvider>;
    return state === undefined ? render(app, root) : hydrate(app, root);
  },
});
