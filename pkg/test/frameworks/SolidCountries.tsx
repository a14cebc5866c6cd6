/** @jsxImportSource solid-js */
// The countries in Solid.

import { For, type JSX } from 'solid-js';
import { useCollection, useStatus } from 'tidewire/solid';
import { Country, edited, OPTIONS, rendered } from './country.js';

export function Countries(): JSX.Element {
  const { rows, isReady, set, delete: remove } = useCollection('countries', Country, OPTIONS);
  const status = useStatus();
  const text = (country: Country): string => {
    rendered(country);
    return `${country.name}: ${country.capital}`;
  };
  return (
    <main>
      <p id="status">{status().state}</p>
      <p id="count">{isReady() ? rows().length : '…'}</p>
      <ul>
        <For each={rows()}>
          {(country) => (
            <li data-key={country.cca3}>
              <span>{text(country)}</span>
              <button class="edit" onClick={() => void set(edited(country))}>Edit</button>
              <button class="delete" onClick={() => void remove(country.cca3)}>Delete</button>
            </li>
          )}
        </For>
      </ul>
    </main>
  );
}
