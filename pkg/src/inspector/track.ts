// One replica in the inspector: what it holds, where it stands, and a plot of what happened in the last half minute.

import type { ReplicaStats } from '../replica.js';
import { describe } from './describe.js';
import type { InspectOptions } from './element.js';
import type { Happening, Outcome } from './tap.js';

/** Seconds across the plot. */
const SPAN = 30;
/** The present moment stands this many seconds before the plot's end, so that a new mark is whole. */
const LEAD = 0.5;
/** Marks that are kept; older ones have left the plot. */
const KEPT = 400;
const LONGEST_VALUE = 300;
/** A reason that nobody asked for stays so long, or nobody can read it; a weightier one may come sooner. */
const READ = 3_500;
const GLANCE = 1_500;

const COUNTED: Partial<Record<Outcome, (stats: ReplicaStats) => number>> = {
  applied: (stats) => stats.applied,
  ignored: (stats) => stats.ignoredStale,
  gap: (stats) => stats.gaps,
  refetch: (stats) => stats.refetches,
  quarantined: (stats) => stats.quarantined + stats.schemaSkews,
};

const WEIGHT: Record<Outcome, number> = { applied: 0, lost: 1, ignored: 2, refetch: 3, gap: 4, quarantined: 5, rollback: 6 };

/** What the words in a track's head mean, for who points at them. */
const MEANING = {
  Position: 'The history (epoch) and the number in it (sequence) of the value that is shown',
  Settled: 'The number up to which nothing is missing; it may be ahead of the position, past a value that was refused',
  Heard: 'How long ago something happened here',
} as const;

interface Mark {
  readonly happening: Happening;
  /** Made when the plot is first seen with it. */
  element: HTMLElement | undefined;
}

const weight = (mark: Mark): number => WEIGHT[mark.happening.outcome];

let tracks = 0;

export class Track {
  readonly element = make('section', 'track');
  readonly #replica: InspectOptions['replica'];
  readonly #lanes: readonly Outcome[];
  readonly #counts = new Map<Outcome, HTMLElement>();
  readonly #status = make('span', 'status');
  readonly #position = make('dd', 'wide');
  readonly #cursor = make('dd');
  readonly #heard = make('dd', 'wide');
  readonly #value = make('code', 'value');
  readonly #fold = make('button', 'fold');
  readonly #paper = make('div', 'paper');
  readonly #marks = make('div', 'marks');
  readonly #why = make('p', 'why');
  readonly #start = performance.now();
  #all: Mark[] = [];
  #lost = 0;
  #heardAt: number | undefined;
  #chosen: Mark | undefined;
  #chosenAt = 0;
  /** What is explained once the present reason has been read. */
  #next: Mark | undefined;
  /** Whether a reader chose a mark, so that newer ones do not take its place. */
  #isHeld = false;
  #secondWidth = 0;
  #shown: unknown = this;

  constructor({ label, replica, lanes, isOpen }: { label: string; replica: InspectOptions['replica']; lanes: readonly Outcome[]; isOpen: boolean }) {
    this.#replica = replica;
    this.#lanes = lanes;
    const id = `tidewire-track-${++tracks}`;
    const name = make('h3', 'name');
    name.id = id;
    this.#fold.type = 'button';
    this.#fold.textContent = label;
    this.#fold.title = label;
    this.#fold.dir = 'auto';
    name.append(this.#fold);
    this.#why.textContent = 'Nothing has arrived yet.';
    this.#value.dir = 'auto';

    const facts = make('dl', 'facts');
    facts.append(fact('Position', this.#position), fact('Settled', this.#cursor), fact('Heard', this.#heard));
    const head = make('div', 'head');
    head.append(name, this.#status, facts, this.#value);

    const names = make('ul', 'names');
    for (const outcome of lanes) {
      const lane = make('li', 'lane');
      const key = make('span', 'key');
      key.dataset['outcome'] = outcome;
      const count = make('b');
      this.#counts.set(outcome, count);
      lane.append(key, outcome, count);
      names.append(lane);
    }
    // One walks through it with the arrow keys and is told where one is: to assistive technology that is a slider.
    attributes(this.#paper, { tabindex: '0', role: 'slider', 'aria-label': `What happened to ${label}`, 'aria-valuemin': '1' });
    this.#paper.append(this.#marks);
    const plot = make('div', 'plot');
    const scale = make('div', 'scale');
    scale.append(`${SPAN} s ago`, make('span'), 'now');
    scale.setAttribute('aria-hidden', 'true');
    plot.append(names, this.#paper, scale);

    this.element.setAttribute('aria-labelledby', id);
    this.element.append(head, plot, this.#why);
    this.#open(isOpen);
    this.#tellValue();
    this.#listen();
  }

  /** Adds a mark. */
  add(happening: Happening): void {
    const mark: Mark = { happening, element: undefined };
    this.#all.push(mark);
    if (this.#all.length > KEPT) this.#all.shift()!.element?.remove();
    if (happening.outcome === 'lost') this.#lost++;
    else this.#heardAt = happening.at;
    // Of what comes while another reason is being read, the most telling is next.
    if (this.#next === undefined || weight(mark) >= weight(this.#next)) this.#next = mark;
    this.#turn();
  }

  /** Shows the replica's present state, and what happened since it was last shown. */
  show(): void {
    const now = performance.now();
    const { sequence, cursor, epoch, status } = this.#replica.peekMeta();
    setText(this.#status, status);
    if (this.#status.dataset['status'] !== status) this.#status.dataset['status'] = status;
    setText(this.#position, sequence < 0 ? '–' : `${epoch === null ? '' : `${epoch.slice(0, 6)} · `}${sequence}`);
    if (this.#position.title !== (epoch ?? '')) this.#position.title = epoch ?? '';
    setText(this.#cursor, cursor < 0 ? '–' : String(cursor));
    setText(this.#heard, this.#heardAt === undefined ? '–' : ago(now - this.#heardAt));
    this.#describe();
    this.#turn();
    const horizon = now - (SPAN + 2) * 1000;
    while (this.#all[0] && this.#all[0].happening.at < horizon && !(this.#isHeld && this.#all[0] === this.#chosen)) this.#all.shift()!.element?.remove();
    if (!this.#isOpen) return;
    for (const [outcome, node] of this.#counts) setText(node, String(COUNTED[outcome]?.(this.#replica.stats) ?? this.#lost));
    for (const mark of this.#all) if (mark.element === undefined) this.#draw(mark);
  }

  /** Moves the plot to the present moment. */
  scroll(): void {
    const second = this.#secondWidth;
    if (second > 0) this.#marks.style.transform = `translateX(${(-((performance.now() - this.#start) / 1000 - SPAN + LEAD) * second).toFixed(1)}px)`;
  }

  get #isOpen(): boolean {
    return this.#fold.getAttribute('aria-expanded') === 'true';
  }

  #open(isOpen: boolean): void {
    this.#fold.setAttribute('aria-expanded', String(isOpen));
    this.element.classList.toggle('is-folded', !isOpen);
  }

  #draw(mark: Mark): void {
    const element = (mark.element = make('i', 'mark'));
    const { outcome, at } = mark.happening;
    element.dataset['outcome'] = outcome;
    element.style.setProperty('--lane', String(this.#lane(outcome)));
    element.style.setProperty('--at', ((at - this.#start) / 1000).toFixed(3));
    if (this.#isHeld && mark === this.#chosen) element.classList.add('is-chosen');
    this.#marks.append(element);
  }

  #lane(outcome: Outcome): number {
    return Math.max(0, this.#lanes.indexOf(outcome === 'rollback' ? 'gap' : outcome));
  }

  #listen(): void {
    const paper = this.#paper;
    new ResizeObserver(([entry]) => {
      this.#secondWidth = (entry?.contentRect.width ?? 0) / SPAN;
      this.#marks.style.setProperty('--second', `${this.#secondWidth}px`);
      this.scroll();
    }).observe(paper);
    this.#fold.addEventListener('click', () => {
      this.#open(!this.#isOpen);
      this.show();
    });
    const point = (event: PointerEvent): void => {
      const mark = this.#nearest(event, paper);
      if (mark) this.#hold(mark);
      else if (event.type === 'pointerdown') this.#letGo();
    };
    paper.addEventListener('pointermove', point);
    paper.addEventListener('pointerdown', point);
    // A finger leaves as soon as it is lifted; what it chose stays until it points elsewhere.
    paper.addEventListener('pointerleave', ({ pointerType }) => pointerType !== 'touch' && this.#letGo());
    paper.addEventListener('blur', () => this.#letGo());
    paper.addEventListener('focus', () => this.#tellValue());
    paper.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') return this.#letGo();
      const next = this.#walk(event.key);
      if (next === undefined) return;
      event.preventDefault();
      this.#hold(next);
    });
  }

  /** Where a key leads: through time, or to what is nearest in another lane. */
  #walk(key: string): Mark | undefined {
    const last = this.#all.length - 1;
    const at = this.#chosen && this.#isHeld ? this.#all.indexOf(this.#chosen) : last + 1;
    switch (key) {
      case 'ArrowLeft': return this.#all[Math.max(0, at - 1)];
      case 'ArrowRight': return this.#all[Math.min(last, at + 1)];
      case 'Home': return this.#all[0];
      case 'End': return this.#all[last];
      case 'ArrowUp': case 'ArrowDown': {
        const from = this.#all[Math.min(last, at)];
        if (from === undefined) return undefined;
        const lane = this.#lane(from.happening.outcome);
        const beyond = (mark: Mark): number => (this.#lane(mark.happening.outcome) - lane) * (key === 'ArrowDown' ? 1 : -1);
        const far = (mark: Mark): number => Math.abs(mark.happening.at - from.happening.at);
        const others = this.#all.filter((mark) => beyond(mark) > 0);
        return others.reduce<Mark>((best, mark) => (best === from || beyond(mark) < beyond(best) || (beyond(mark) === beyond(best) && far(mark) < far(best)) ? mark : best), from);
      }
      default: return undefined;
    }
  }

  #hold(mark: Mark): void {
    this.#isHeld = true;
    this.#explain(mark);
    // Told to who listens only when the reader moves: what runs by is not.
    this.#tellValue();
  }

  #letGo(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#chosen?.element?.classList.remove('is-chosen');
    const newest = this.#all.at(-1);
    if (newest) this.#explain(newest);
  }

  #tellValue(): void {
    const at = this.#chosen ? this.#all.indexOf(this.#chosen) + 1 : 0;
    attributes(this.#paper, {
      'aria-valuemax': String(Math.max(1, this.#all.length)),
      'aria-valuenow': String(Math.max(1, at)),
      'aria-valuetext': this.#why.textContent ?? '',
    });
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
    if (mark === this.#chosen && mark.element?.classList.contains('is-chosen')) return;
    this.#chosen?.element?.classList.remove('is-chosen');
    this.#chosen = mark;
    this.#chosenAt = performance.now();
    if (this.#isHeld) mark.element?.classList.add('is-chosen');
    const outcome = make('b');
    outcome.dataset['outcome'] = mark.happening.outcome;
    outcome.textContent = mark.happening.outcome;
    this.#why.replaceChildren(outcome, ` ${mark.happening.reason}`);
  }

  /** Goes on to the next reason, if the present one has been there for long enough. */
  #turn(): void {
    const next = this.#next;
    if (next === undefined || this.#isHeld) return;
    const patience = this.#chosen === undefined ? 0 : weight(next) > weight(this.#chosen) ? GLANCE : READ;
    if (performance.now() - this.#chosenAt < patience) return;
    this.#next = undefined;
    this.#explain(next);
  }

  #describe(): void {
    const replica = this.#replica;
    if ('peekRows' in replica) return setText(this.#value, `${replica.peekRows().length} records`);
    const value = replica.peek();
    // What has not changed is the same object.
    if (value === this.#shown) return;
    this.#shown = value;
    setText(this.#value, describe(value, LONGEST_VALUE));
  }
}

function make<K extends keyof HTMLElementTagNameMap>(tag: K, name = ''): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (name) element.className = name;
  return element;
}

function attributes(element: HTMLElement, all: Record<string, string>): void {
  for (const [name, value] of Object.entries(all)) element.setAttribute(name, value);
}

function fact(term: keyof typeof MEANING, value: HTMLElement): HTMLElement {
  const box = make('div');
  box.title = MEANING[term];
  const name = make('dt');
  name.textContent = term;
  box.append(name, value);
  return box;
}

function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** In steps that one can read. */
function ago(millis: number): string {
  return millis < 1_000 ? 'just now' : `${Math.round(millis / 1000)} s ago`;
}
