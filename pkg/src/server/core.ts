// The reference server's WebAssembly as the facade sees it. The Rust side is src/wasm/server.rs,
// authority.rs and rules.rs.

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
  openPool(now: number, id: string, presence: boolean): string;
  merge(now: number, pool: string, bytes: Uint8Array): number;
  notify(now: number, to: string, bytes: Uint8Array, suit: boolean, ttl: number): string;
  reply(now: number, trace: string, bytes: Uint8Array): void;
  kvSet(now: number, group: string, key: string, bytes: Uint8Array, ttl: number): void;
  kvDelete(now: number, group: string, key?: string): boolean;
  object(now: number, key: string): Uint8Array | undefined;
  records(now: number, isPool: boolean, id: string): Uint8Array | undefined;
  notification(now: number, trace: string): Uint8Array | undefined;
  drain(now: number, to: string): Uint8Array;
  kvGet(now: number, group: string, key?: string): Uint8Array | undefined;
  restart(seed: Uint8Array): void;
  rollback(count: number, seed: Uint8Array): boolean;
  free(): void;
}

/** @internal What a server is made with. It is used up by that. */
export interface ServerRules {
  authorize(check: (now: number, token: string | undefined) => readonly unknown[]): void;
  rule(
    isObject: boolean, pattern: string, version: string | undefined, gate: ((bytes: Uint8Array) => string | undefined) | undefined,
    shown: string[] | undefined,
  ): void;
  resolver(pattern: string, resolve: (now: number, key: string) => Uint8Array | undefined): void;
  viewer(name: string, sees: (viewer: string, key: string, bytes: Uint8Array) => boolean): void;
}

/** @internal The instantiated module. */
export interface LoadedServer {
  readonly ServerCore: new (seed: Uint8Array, rules: ServerRules, kept: number) => ServerCore;
  readonly ServerRules: new () => ServerRules;
}
