// The countries with signals of the TC39 proposal, and the effect that its polyfill's documentation shows.

import { Signal } from 'signal-polyfill';
import type { Collection } from 'tidewire';
import { createCell, statusSignal } from 'tidewire/signals';
import { Country, edited, OPTIONS, rendered } from './country.js';
import { run } from './page.js';

function effect(run: () => void): () => void {
  let isDue = false;
  const computed = new Signal.Computed(run);
  const watcher = new Signal.subtle.Watcher(() => {
    if (isDue) return;
    isDue = true;
    queueMicrotask(() => {
      isDue = false;
      for (const pending of watcher.getPending()) pending.get();
      watcher.watch();
    });
  });
  watcher.watch(computed);
  computed.get();
  return () => watcher.unwatch(computed);
}

function button(name: string, run: () => unknown): HTMLButtonElement {
  const made = document.createElement('button');
  made.className = name;
  made.onclick = run;
  return made;
}

function row(country: Country, countries: Collection<Country>): HTMLLIElement {
  rendered(country);
  const item = document.createElement('li');
  item.dataset['key'] = country.cca3;
  const text = document.createElement('span');
  text.textContent = `${country.name}: ${country.capital}`;
  item.append(text, button('edit', () => countries.set(edited(country))), button('delete', () => countries.delete(country.cca3)));
  return item;
}

run({
  mount(root, client) {
    root.innerHTML = '<main><p id="status"></p><p id="count"></p><ul></ul></main>';
    const [status, count, list] = ['#status', '#count', 'ul'].map((name) => root.querySelector(name)!) as [Element, Element, Element];
    const countries = client.datastore('countries', Country, { ...OPTIONS, createCell });
    const session = statusSignal(client);
    // By identity: a country that did not change keeps its element.
    const items = new WeakMap<Country, HTMLLIElement>();
    const itemOf = (country: Country): HTMLLIElement => {
      const item = items.get(country) ?? row(country, countries);
      items.set(country, item);
      return item;
    };
    const ends = [
      effect(() => { status.textContent = session.get().state; }),
      effect(() => { count.textContent = countries.meta().sequence < 0 ? '…' : String(countries.rows().length); }),
      effect(() => list.replaceChildren(...countries.rows().map(itemOf))),
    ];
    return () => {
      for (const end of ends) end();
      countries.dispose();
      root.replaceChildren();
    };
  },
});
