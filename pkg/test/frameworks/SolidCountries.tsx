/** @jsxImportSource solid-js */
// The countries in Solid.

import { createSignal, For, type JSX } from 'solid-js';
import { useCollection, useStatus, useSynced } from 'tidewire/solid';
import { Country, edited, Note, OPTIONS, rendered } from './country.js';

export function Countries(): JSX.Element {
  const { rows, isReady, set, delete: remove } = useCollection('countries', Country, OPTIONS);
  const [chosen, choose] = createSignal<string>();
  const note = useSynced(() => chosen() && `note:${chosen()}`, Note);
  const status = useStatus();
  const text = (country: Country): string => {
    rendered(country);
    return `${country.name}: ${country.capital}`;
  };
  return (
    <main>
      <p id="status">{status().state}</p>
      <p id="count">{isReady() ? rows().length : '…'}</p>
      <p id="note">{note()?.text ?? '…'}</p>
      <ul>
        <For each={rows()}>
          {(country) => (
            <li data-key={country.cca3}>
              <span onClick={() => choose(country.cca3)}>{text(country)}</span>
              <button class="edit" onClick={() => void set(edited(country))}>Edit</button>
              <button class="delete" onClick={() => void remove(country.cca3)}>Delete</button>
            </li>
          )}
        </For>
      </ul>
    </main>
  );
}
