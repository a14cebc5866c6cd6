// Components in files of their own, as the compilers of their frameworks make them.

declare module '*.vue' {
  import type { DefineComponent } from 'vue';

  const component: DefineComponent;
  export default component;
}

declare module '*.svelte' {
  import type { Client, DehydratedState } from 'tidewire';
  import type { Component } from 'svelte';

  const component: Component<{ client?: Client; state?: DehydratedState }>;
  export default component;
}

declare module 'babel-preset-solid' {
  import type { PluginItem } from '@babel/core';

  const preset: PluginItem;
  export default preset;
}
