// One replica in the inspector: what it holds, where it stands, and a plot of what happened in the last half minute.

import type { ReplicaStats } from '../replica.js';
import type { InspectOptions } from './element.js';
import type { Happening, Outcome } from './tap.js';

/** Seconds across the plot. */
const SPAN = 30;
/** The present moment stands this many seconds before the plot's end, so that a new mark is whole. */
const LEAD = 0.5;
/** Marks that are kept; older ones have left the plot. */
const KEPT = 400;
const LONGEST_VALUE = 300;

const COUNTED: Partial<Record<Outcome, (stats: ReplicaStats) => number>> = {
  applied: (stats) => stats.applied,
  ignored: (stats) => stats.ignoredStale,
  gap: (stats) => stats.gaps,
  refetch: (stats) => stats.refetches,
  quarantined: (stats) => stats.quarantined + stats.schemaSkews,
};

interface Mark {
  readonly happening: Happening;
  readonly element: HTMLElement;
}

let tracks = 0;

export class Track {
  readonly element: HTMLElement;
  readonly #replica: InspectOptions['replica'];
  readonly #lanes: readonly Outcome[];
  readonly #counts = new Map<Outcome, HTMLElement>();
  readonly #status = make('span', 'status');
  readonly #position = make('dd', 'wide');
  readonly #cursor = make('dd');
  readonly #heard = make('dd', 'wide');
  readonly #value = make('code', 'value');
  readonly #plot: HTMLElement;
  readonly #marks = make('div', 'marks');
  readonly #why = make('p', 'why');
  readonly #start = performance.now();
  #all: Mark[] = [];
  #lost = 0;
  #heardAt: number | undefined;
  #chosen: Mark | undefined;
  /** Whether a reader chose a mark, so that newer ones do not take its place. */
  #isHeld = false;
  #secondWidth = 0;

  constructor({ label, replica, lanes }: { label: string; replica: InspectOptions['replica']; lanes: readonly Outcome[] }) {
    this.#replica = replica;
    this.#lanes = lanes;
    const id = `tidewire-track-${++tracks}`;
    const name = make('h3', 'name');
    name.id = id;
    name.textContent = label;
    this.#why.id = `${id}-why`;
    this.#why.textContent = 'Nothing has arrived yet.';

    const facts = make('dl', 'facts');
    facts.append(fact('Position', this.#position), fact('Settled', this.#cursor), fact('Heard', this.#heard));
    const head = make('div', 'head');
    head.append(name, this.#status, facts, this.#value);

    const names = make('div', 'names');
    for (const outcome of lanes) {
      const lane = make('div', 'lane');
      const key = make('span', 'key');
      key.dataset['outcome'] = outcome;
      const count = make('b');
      this.#counts.set(outcome, count);
      lane.append(key, outcome, count);
      names.append(lane);
    }
    const paper = make('div', 'paper');
    paper.append(this.#marks);
    this.#plot = make('div', 'plot');
    for (const [attribute, value] of Object.entries({
      tabindex: '0',
      role: 'group',
      'aria-label': `What happened to ${label} in the last ${SPAN} seconds; the arrow keys go through it`,
      'aria-describedby': this.#why.id,
    })) this.#plot.setAttribute(attribute, value);
    this.#plot.append(names, paper);

    this.element = make('section', 'track');
    this.element.setAttribute('aria-labelledby', id);
    this.element.append(head, this.#plot, this.#why);
    this.#listen(paper);
  }

  /** Adds a mark. */
  add(happening: Happening): void {
    const element = make('i', 'mark');
    element.dataset['outcome'] = happening.outcome;
    const lane = Math.max(0, this.#lanes.indexOf(happening.outcome === 'rollback' ? 'gap' : happening.outcome));
    element.style.top = `${1.5 * lane}rem`;
    element.style.left = `calc(var(--second) * ${((happening.at - this.#start) / 1000).toFixed(3)})`;
    this.#marks.append(element);
    const mark = { happening, element };
    this.#all.push(mark);
    if (this.#all.length > KEPT) this.#all.shift()!.element.remove();
    if (happening.outcome === 'lost') this.#lost++;
    else this.#heardAt = happening.at;
    if (!this.#isHeld) this.#explain(mark);
  }

  /** Shows the replica's present state. */
  show(): void {
    const { sequence, cursor, epoch, status } = this.#replica.peekMeta();
    setText(this.#status, status);
    this.#status.dataset['status'] = status;
    setText(this.#position, sequence < 0 ? '–' : `${epoch === null ? '' : `${epoch.slice(0, 6)} · `}${sequence}`);
    this.#position.title = epoch ?? '';
    setText(this.#cursor, cursor < 0 ? '–' : String(cursor));
    setText(this.#heard, this.#heardAt === undefined ? '–' : ago(performance.now() - this.#heardAt));
    setText(this.#value, this.#describe());
    for (const [outcome, node] of this.#counts) setText(node, String(COUNTED[outcome]?.(this.#replica.stats) ?? this.#lost));
    const horizon = performance.now() - (SPAN + 2) * 1000;
    while (this.#all[0] && this.#all[0].happening.at < horizon && this.#all[0] !== this.#chosen) this.#all.shift()!.element.remove();
  }

  /** Moves the plot to the present moment. */
  scroll(): void {
    const second = this.#secondWidth;
    if (second > 0) this.#marks.style.transform = `translateX(${(-((performance.now() - this.#start) / 1000 - SPAN + LEAD) * second).toFixed(1)}px)`;
  }

  #listen(paper: HTMLElement): void {
    new ResizeObserver(([entry]) => {
      this.#secondWidth = (entry?.contentRect.width ?? 0) / SPAN;
      this.#marks.style.setProperty('--second', `${this.#secondWidth}px`);
      this.scroll();
    }).observe(paper);
    paper.addEventListener('pointermove', (event) => {
      const mark = this.#nearest(event, paper);
      this.#isHeld = mark !== undefined;
      if (mark) this.#explain(mark);
    });
    paper.addEventListener('pointerleave', () => this.#letGo());
    this.#plot.addEventListener('blur', () => this.#letGo());
    this.#plot.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') return this.#letGo();
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -KEPT, End: KEPT }[event.key];
      if (step === undefined || this.#all.length === 0) return;
      event.preventDefault();
      const at = this.#chosen && this.#isHeld ? this.#all.indexOf(this.#chosen) : this.#all.length;
      this.#isHeld = true;
      // What a reader goes through is read out; what runs by is not.
      this.#why.setAttribute('aria-live', 'polite');
      this.#explain(this.#all[Math.min(this.#all.length - 1, Math.max(0, at + step))]!);
    });
  }

  #letGo(): void {
    this.#isHeld = false;
    this.#why.removeAttribute('aria-live');
    const newest = this.#all.at(-1);
    if (newest) this.#explain(newest);
  }

  /** The mark that is closest to the pointer. */
  #nearest({ clientX, clientY }: PointerEvent, paper: HTMLElement): Mark | undefined {
    const box = paper.getBoundingClientRect();
    const at = performance.now() - ((box.right - clientX) / this.#secondWidth - LEAD) * 1000;
    const lane = this.#lanes[Math.floor((clientY - box.top) / (box.height / this.#lanes.length))];
    let best: Mark | undefined;
    let least = 1500;
    for (const mark of this.#all) {
      const distance = Math.abs(mark.happening.at - at) + (mark.happening.outcome === lane ? 0 : 600);
      if (distance < least) [best, least] = [mark, distance];
    }
    return best;
  }

  #explain(mark: Mark): void {
    this.#chosen?.element.classList.remove('is-chosen');
    this.#chosen = mark;
    if (this.#isHeld) mark.element.classList.add('is-chosen');
    const outcome = make('b');
    outcome.dataset['outcome'] = mark.happening.outcome;
    outcome.textContent = mark.happening.outcome;
    this.#why.replaceChildren(outcome, ` ${mark.happening.reason}`);
  }

  #describe(): string {
    const replica = this.#replica;
    if ('peekRows' in replica) return `${replica.peekRows().length} records`;
    const text = JSON.stringify(replica.peek(), (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value)) ?? 'no value';
    return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
  }
}

function make<K extends keyof HTMLElementTagNameMap>(tag: K, name = ''): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (name) element.className = name;
  return element;
}

function fact(term: string, value: HTMLElement): HTMLElement {
  const box = make('div');
  const name = make('dt');
  name.textContent = term;
  box.append(name, value);
  return box;
}

function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

function ago(millis: number): string {
  return millis < 10_000 ? `${(millis / 1000).toFixed(1)} s ago` : `${Math.round(millis / 1000)} s ago`;
}
