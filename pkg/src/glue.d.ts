// The generated modules, as the bundler sees them. Their shape is written by hand in core.ts.
declare module '#glue/client' {
  /** A new module each time, without an instance. */
  export function glue(host: import('./core.js').Host): {
    initSync(input: { module: WebAssembly.Module }): { memory: WebAssembly.Memory };
    readonly Core: import('./core.js').CoreConstructor;
  };
}
declare module '#glue/server' {
  export function initSync(input: { module: BufferSource | WebAssembly.Module }): { memory: WebAssembly.Memory };
  const init: (input: { module_or_path: WebAssembly.Module }) => Promise<{ memory: WebAssembly.Memory }>;
  export default init;
  export const ServerCore: import('./server/core.js').LoadedServer['ServerCore'];
  export const ServerRules: import('./server/core.js').LoadedServer['ServerRules'];
}
declare module '*/tidewire_bg.wasm' {
  const module: WebAssembly.Module;
  export default module;
}
declare module '*/tidewire_bg.wasm?base64' {
  const text: string;
  export default text;
}
