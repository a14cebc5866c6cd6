// <tidewire-inspector>: one track for each replica that it watches. It shows; what there is to know is the tap's business.

import type { Replica } from '../replica.js';
import type { Collection } from '../collection.js';
import { STYLE } from './style.js';
import { type Outcome, Tap, type Watchable } from './tap.js';
import { Track } from './track.js';

/** What to show, and how to call it. */
export interface InspectOptions {
  /** What hears of the envelopes. Left out, only the replica's own state is shown, and what its counters say. */
  tap?: Tap | undefined;
  /** The key of the object, or the id of the datastore. */
  key: string;
  /** The replica or collection. */
  replica: Watchable & (Pick<Replica<unknown>, 'peek'> | Pick<Collection<unknown>, 'peekRows'>);
  /** The name to show. Default: the key. */
  label?: string | undefined;
}

/** Ten times a second is as much as anybody reads. */
const BEAT = 100;

// Where there are no elements (server-side rendering) the module can still be imported.
const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement;

/** Shows what replicas hold, where they stand, and what became of every envelope. Register it with {@link defineInspector}. */
export class TidewireInspector extends Base {
  readonly #tracks = new Map<Track, () => void>();
  readonly #list: HTMLElement;
  readonly #empty: HTMLElement;
  #timer: ReturnType<typeof setInterval> | undefined;
  #frame = 0;

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    this.#list = document.createElement('div');
    this.#list.className = 'tracks';
    this.#empty = document.createElement('p');
    this.#empty.className = 'empty';
    this.#empty.textContent = 'No replica is watched yet.';
    // Unlike a <style>, a constructed sheet passes every Content Security Policy.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    root.append(this.#list, this.#empty);
  }

  /** Adds a track for a replica. The returned function takes it away. */
  watch({ tap = new Tap(), key, replica, label = key }: InspectOptions): () => void {
    const track = new Track({ label, replica, lanes: this.#lanes() });
    const ends = [tap.watch(key, replica), tap.on((happening) => happening.key === key && track.add(happening))];
    this.#tracks.set(track, () => tap.look());
    this.#list.append(track.element);
    this.#empty.hidden = true;
    track.show();
    return () => {
      for (const end of ends) end();
      this.#tracks.delete(track);
      track.element.remove();
      this.#empty.hidden = this.#tracks.size > 0;
    };
  }

  connectedCallback(): void {
    this.#timer ??= setInterval(() => this.#beat(), BEAT);
    if (!matchMedia('(prefers-reduced-motion: reduce)').matches) this.#glide();
  }

  disconnectedCallback(): void {
    clearInterval(this.#timer);
    cancelAnimationFrame(this.#frame);
    this.#timer = undefined;
    this.#frame = 0;
  }

  /** `network`: somebody reports what is lost, so there is a lane for it. */
  #lanes(): readonly Outcome[] {
    const lanes: readonly Outcome[] = ['applied', 'ignored', 'gap', 'refetch', 'quarantined'];
    return this.hasAttribute('network') ? ['lost', ...lanes] : lanes;
  }

  #beat(): void {
    if (document.hidden) return;
    for (const [track, look] of this.#tracks) {
      look();
      track.show();
      if (this.#frame === 0) track.scroll();
    }
  }

  #glide(): void {
    for (const track of this.#tracks.keys()) track.scroll();
    this.#frame = requestAnimationFrame(() => this.#glide());
  }
}

/** Registers the element under `name`. Once is enough; called again with the same name it does nothing. */
export function defineInspector(name = 'tidewire-inspector'): void {
  if (customElements.get(name) === undefined) customElements.define(name, name === 'tidewire-inspector' ? TidewireInspector : class extends TidewireInspector {});
}

