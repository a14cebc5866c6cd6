// The page of the countries in React, also where a server has rendered it.

import { StrictMode } from 'react';
import { createRoot, hydrateRoot } from 'react-dom/client';
import { TidewireProvider } from 'tidewire/react';
import { Countries } from './Countries.js';
import { run } from './page.js';

run({
  mount(element, client, state) {
    const app = <StrictMode><TidewireProvider client={client} state={state}><Countries /></TidewireProvider></StrictMode>;
    if (state !== undefined) {
      const root = hydrateRoot(element, app);
      return () => root.unmount();
    }
    const root = createRoot(element);
    root.render(app);
    return () => root.unmount();
  },
});
