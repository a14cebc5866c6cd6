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
/** Who prefers less motion sees the plot move once in a second. */
const STEP = 10;
/** Beyond so many tracks new ones begin folded: a list that one can go through. */
const UNFOLDED = 8;

// Where there are no elements (server-side rendering) the module can still be imported.
const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement;

/** Shows what replicas hold, where they stand, and what became of every envelope. Register it with {@link defineInspector}. */
export class TidewireInspector extends Base {
  readonly #tracks = new Map<Track, Tap>();
  /** Those that are on the screen, or near it: the others are brought up to date when they come there. */
  readonly #seen = new Set<Track>();
  readonly #byElement = new WeakMap<Element, Track>();
  readonly #list: HTMLElement;
  readonly #empty: HTMLElement;
  readonly #watcher: IntersectionObserver;
  readonly #calm: MediaQueryList;
  #timer: ReturnType<typeof setInterval> | undefined;
  #frame = 0;
  #beats = 0;

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    const body = document.createElement('div');
    body.className = 'root';
    // What it says is English, and its plots run with time, whatever the page around it is.
    body.lang = 'en';
    body.dir = 'ltr';
    this.#list = document.createElement('div');
    this.#list.className = 'tracks';
    this.#empty = document.createElement('p');
    this.#empty.className = 'empty';
    this.#empty.textContent = 'No replica is watched yet.';
    // Unlike a <style>, a constructed sheet passes every Content Security Policy.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    body.append(this.#list, this.#empty);
    root.append(body);
    this.#calm = matchMedia('(prefers-reduced-motion: reduce)');
    this.#watcher = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const track = this.#byElement.get(target);
        if (track === undefined) continue;
        if (isIntersecting) this.#seen.add(track);
        else this.#seen.delete(track);
        if (isIntersecting) track.show();
      }
      this.#glide();
      // A screen more on each side, so that nobody who scrolls sees an old one.
    }, { rootMargin: '100% 0px' });
  }

  /** Adds a track for a replica. The returned function takes it away. */
  watch({ tap = new Tap(), key, replica, label = key }: InspectOptions): () => void {
    const track = new Track({ label, replica, lanes: this.#lanes(), isOpen: this.#tracks.size < UNFOLDED });
    const ends = [tap.watch(key, replica), tap.on((happening) => happening.key === key && track.add(happening))];
    this.#tracks.set(track, tap);
    this.#byElement.set(track.element, track);
    this.#list.append(track.element);
    this.#watcher.observe(track.element);
    this.#empty.hidden = true;
    track.show();
    return () => {
      for (const end of ends.splice(0)) end();
      this.#tracks.delete(track);
      this.#seen.delete(track);
      this.#watcher.unobserve(track.element);
      track.element.remove();
      this.#empty.hidden = this.#tracks.size > 0;
    };
  }

  connectedCallback(): void {
    this.#timer ??= setInterval(() => this.#beat(), BEAT);
    this.#glide();
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
    // A tap looks at all that it watches: once is enough, however many tracks it has.
    for (const tap of new Set(this.#tracks.values())) tap.look();
    if (document.hidden) return;
    this.#beats++;
    for (const track of this.#seen) {
      track.show();
      if (this.#calm.matches && this.#beats % STEP === 0) track.scroll();
    }
    this.#glide();
  }

  /** Moves the plots with every frame, while there are some to be seen. */
  #glide(): void {
    if (this.#frame !== 0 || this.#timer === undefined || this.#seen.size === 0 || this.#calm.matches) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      for (const track of this.#seen) track.scroll();
      this.#glide();
    });
  }
}

/** Registers the element under `name`. Once is enough; called again with the same name it does nothing. */
export function defineInspector(name = 'tidewire-inspector'): void {
  if (customElements.get(name) === undefined) customElements.define(name, name === 'tidewire-inspector' ? TidewireInspector : class extends TidewireInspector {});
}
