// Bundles of the frameworks' pages, with the compilers of those that have one.

import { readFile } from 'node:fs/promises';
import { basename, isAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformAsync } from '@babel/core';
import solidPreset from 'babel-preset-solid';
import { build, type BuildOptions, type Plugin, transform } from 'esbuild';
import { compile } from 'svelte/compiler';
import { compileScript, parse } from 'vue/compiler-sfc';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Where the page runs: it decides what the compilers make. */
export type Side = 'browser' | 'server';

/** The package by its name, as built, with its WebAssembly within. */
const tidewire: Plugin = {
  name: 'tidewire',
  setup({ onResolve }) {
    onResolve({ filter: /^tidewire(\/|$)/ }, ({ path }) => {
      const entry = path.slice('tidewire/'.length);
      const file = entry === '' ? 'inline.js' : entry === 'server' ? 'server.inline.js' : `${entry}.js`;
      return { path: here(`../../dist/${file}`) };
    });
  },
};

const vue = (side: Side): Plugin => ({
  name: 'vue',
  setup({ onLoad }) {
    onLoad({ filter: /\.vue$/ }, async ({ path }) => {
      const { descriptor, errors } = parse(await readFile(path, 'utf8'), { filename: path });
      if (errors.length > 0) return { errors: errors.map((error) => ({ text: error.message })) };
      const { content } = compileScript(descriptor, {
        id: basename(path), inlineTemplate: true, templateOptions: { ssr: side === 'server', ssrCssVars: [] },
      });
      return { contents: content, loader: 'ts' };
    });
  },
});

const svelte = (side: Side): Plugin => ({
  name: 'svelte',
  setup({ onLoad }) {
    onLoad({ filter: /\.svelte$/ }, async ({ path }) => {
      const { js } = compile(await readFile(path, 'utf8'), { filename: path, generate: side === 'server' ? 'server' : 'client' });
      return { contents: js.code, loader: 'js' };
    });
  },
});

/** JSX of Solid, which is told by what it imports. */
const solid = (side: Side): Plugin => ({
  name: 'solid',
  setup({ onLoad }) {
    onLoad({ filter: /\.tsx$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      if (!/from 'solid-js/.test(source)) return undefined;
      const { code } = await transform(source, { loader: 'tsx', jsx: 'preserve' });
      const made = await transformAsync(code, {
        filename: path, configFile: false, babelrc: false,
        presets: [[solidPreset, { generate: side === 'server' ? 'ssr' : 'dom', hydratable: true }]],
      });
      return { contents: made!.code!, loader: 'js' };
    });
  },
});

/** Bundles a file, of this directory if its path does not say otherwise, for one side. Returns the script. */
export async function bundle(entry: string, side: Side = 'browser', options: BuildOptions = {}, plugins: readonly Plugin[] = []): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [isAbsolute(entry) ? entry : here(`./${entry}`)],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    platform: side === 'server' ? 'node' : 'browser',
    mainFields: ['module', 'main'],
    jsx: 'automatic',
    // Warnings of frameworks are faults, and only their builds for development warn.
    define: {
      'process.env.NODE_ENV': '"development"',
      __VUE_OPTIONS_API__: 'false', __VUE_PROD_DEVTOOLS__: 'false', __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'true',
    },
    logLevel: 'error',
    plugins: [...plugins, tidewire, vue(side), svelte(side), solid(side)],
    ...options,
  });
  return outputFiles![0]!.text;
}
