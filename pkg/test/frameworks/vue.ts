// The page of the countries in Vue, also where a server has rendered it.

import { createTidewire } from 'tidewire/vue';
import { createApp, createSSRApp } from 'vue';
import Countries from './Countries.vue';
import { run } from './page.js';

run({
  mount(root, client, state) {
    const app = state === undefined ? createApp(Countries) : createSSRApp(Countries);
    app.use(createTidewire({ client, state }));
    app.mount(root);
    return () => app.unmount();
  },
});
