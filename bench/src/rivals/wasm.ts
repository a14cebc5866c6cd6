// The wasm files of others, beside the bundle; by fetch in browsers, from disk in Node.

/** What the libraries' own loaders take: an address to stream from or, where there is no fetch for it, bytes. */
export async function wasm(name: string): Promise<string | Uint8Array<ArrayBuffer>> {
  const url = new URL(`./wasm/${name}.wasm`, import.meta.url);
  if (url.protocol !== 'file:') return url.href;
  const { readFile } = await import('node:fs/promises');
  return new Uint8Array(await readFile(url));
}
