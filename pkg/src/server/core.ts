// The reference server's WebAssembly as the facade sees it. The Rust side is src/wasm/server.rs.

/** @internal Times are milliseconds as `Date.now()` counts; commands return a sequence, or -1 where nothing had to change. */
export interface ServerCore {
  connect(now: number, id: number): void;
  frame(now: number, id: number, bytes: Uint8Array): void;
  disconnect(now: number, id: number): void;
  timeout(now: number): void;
  nextTimeout(): number;
  pollConnection(): number;
  takeFrame(): Uint8Array<ArrayBuffer> | undefined;
  closeCode(): number;
  closeReason(): string;
  openDatastore(now: number, id: string, permanent: boolean, primary: string): string;
  set(now: number, datastore: string, bytes: Uint8Array): number;
  remove(now: number, datastore: string, key: string): number;
  put(now: number, key: string, bytes: Uint8Array): number;
  delete(now: number, key: string): number;
  free(): void;
}

/** @internal */
export type ServerCoreConstructor = new (seed: Uint8Array) => ServerCore;
