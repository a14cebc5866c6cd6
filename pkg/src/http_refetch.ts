// A refetch over HTTP: what `GET /v1/objects/{key}` of a Tidewire server says, or anything that answers alike.

import type { Refetch } from './client_replica.js';
import { TidewireError } from './errors.js';
import type { Envelope } from './transport/transport.js';
import { fromJson } from './value/json.js';

/** How to ask. */
export interface HttpRefetchOptions {
  /** Headers of each request, or what makes them: `() => ({ authorization: `Bearer ${token}` })`. */
  headers?: Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>) | undefined;
  /** What to ask with. Default: the global `fetch`. */
  fetch?: typeof fetch | undefined;
}

/**
 * A `refetch` for `createClientReplica` that asks `url` for the current snapshot: JSON with `value`, `sequence`, and where
 * there are such `schema_version` and `epoch`. 404 says that there is no value. What has not changed is not sent again (ETag).
 */
export function httpRefetch(url: string | URL, { headers, fetch: ask = fetch }: HttpRefetchOptions = {}): Refetch {
  let known: { readonly tag: string; readonly snapshot: Envelope } | undefined;
  return async ({ signal }) => {
    const own = typeof headers === 'function' ? await headers() : headers;
    const response = await ask(url, {
      signal,
      headers: { accept: 'application/json', ...(known ? { 'if-none-match': known.tag } : {}), ...own },
    });
    if (response.status === 304 && known) return known.snapshot;
    if (response.status === 404) return null;
    if (!response.ok) {
      throw new TidewireError('unavailable', `${response.url || String(url)} answered ${response.status}`, { retryable: response.status >= 500 });
    }
    const { value, schema_version, sequence, epoch } = await response.json() as Envelope;
    const snapshot: Envelope = { value: fromJson(value), schema_version: schema_version ?? undefined, sequence, epoch: epoch ?? undefined };
    const tag = response.headers.get('etag');
    known = tag === null ? undefined : { tag, snapshot };
    return snapshot;
  };
}
