// The wasm files of others, beside the bundle; by fetch in browsers, from disk in Node.

/** What the libraries' own loaders take: a response still on its way, or bytes. */
export async function wasm(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const url = new URL(`./wasm/${name}.wasm`, import.meta.url);
  if (url.protocol !== 'file:') return new Uint8Array(await (await fetch(url)).arrayBuffer());
  const { readFile } = await import('node:fs/promises');
  return new Uint8Array(await readFile(url));
}
