// The data of the benchmark: two shapes of record, how each changes, what "read" means for it, and its three gates.
//
// All text is ASCII, which is what plain JavaScript parses fastest.

import { z } from 'zod';

/** About 200 bytes of JSON. */
export const Item = z.object({
  id: z.string().min(1),
  name: z.string().max(200),
  owner: z.object({ id: z.int(), name: z.string() }),
  tags: z.array(z.string()),
  price: z.number(),
  quantity: z.int().min(0),
  active: z.boolean(),
  state: z.enum(['draft', 'open', 'done']),
  note: z.string().nullable(),
});
export type Item = z.infer<typeof Item>;

/** About 10 KB of JSON. */
export const Order = z.object({
  id: z.string().min(1),
  customer: z.object({ name: z.string(), street: z.string(), city: z.string(), zip: z.string() }),
  paid: z.boolean(),
  lines: z.array(z.object({
    sku: z.string(),
    title: z.string(),
    quantity: z.int().min(0),
    price: z.number(),
    tax: z.number(),
    options: z.array(z.string()),
    note: z.string().nullable(),
  })),
});
export type Order = z.infer<typeof Order>;

/** A seeded generator (mulberry32): the same numbers on every run. */
export type Random = () => number;

export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const WORDS = [
  'amber', 'basin', 'cedar', 'delta', 'ember', 'fjord', 'grove', 'haven', 'inlet', 'jetty', 'knoll', 'lagoon', 'marsh',
  'north', 'ochre', 'pier', 'quay', 'reef', 'shoal', 'tide', 'upland', 'vale', 'wharf', 'yawl', 'zephyr',
];

function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

function words(random: Random, count: number): string {
  let text = WORDS[below(random, WORDS.length)]!;
  for (let i = 1; i < count; i++) text += ` ${WORDS[below(random, WORDS.length)]!}`;
  return text;
}

const cents = (random: Random): number => below(random, 100_000) / 100;

/** What the workloads need to know about a shape. */
export interface Shape<T> {
  make(id: string, random: Random): T;
  /** A changed copy. */
  change(value: T, random: Random): T;
  /** Reads every leaf. */
  checksum(value: T): number;
  readonly schema: z.ZodType<T>;
  /** The same rules, written by hand. */
  check(value: unknown): boolean;
}

const STATES = ['draft', 'open', 'done'] as const;

const text = (value: string): number => value.length === 0 ? 7 : value.length * 31 + value.charCodeAt(value.length - 1);
const number = (value: number): number => (value * 100) | 0;

export const ITEM: Shape<Item> = {
  make: (id, random) => ({
    id,
    name: words(random, 4),
    owner: { id: below(random, 100_000), name: words(random, 2) },
    tags: [words(random, 1), words(random, 1), words(random, 1)],
    price: cents(random),
    quantity: below(random, 1000),
    active: random() < 0.5,
    state: STATES[below(random, 3)]!,
    note: random() < 0.3 ? null : words(random, 3),
  }),
  change: (value, random) => ({
    ...value,
    price: cents(random),
    quantity: below(random, 1000),
    state: STATES[below(random, 3)]!,
    ...(random() < 0.1 ? { name: words(random, 4) } : {}),
  }),
  checksum(item) {
    let sum = text(item.id) + text(item.name) + item.owner.id + text(item.owner.name);
    const { tags } = item;
    for (let i = 0; i < tags.length; i++) sum += text(tags[i]!);
    sum += number(item.price) + item.quantity + (item.active ? 1 : 2) + text(item.state);
    return (sum + (item.note === null ? 3 : text(item.note))) | 0;
  },
  schema: Item,
  check(value) {
    if (!isObject(value)) return false;
    const { id, name, owner, tags, price, quantity, active, state, note } = value as Record<string, unknown>;
    return typeof id === 'string' && id.length >= 1
      && typeof name === 'string' && name.length <= 200
      && isObject(owner) && Number.isSafeInteger((owner as Item['owner']).id)
      && typeof (owner as Item['owner']).name === 'string'
      && isStrings(tags)
      && Number.isFinite(price)
      && Number.isSafeInteger(quantity) && (quantity as number) >= 0
      && typeof active === 'boolean'
      && (state === 'draft' || state === 'open' || state === 'done')
      && (note === null || typeof note === 'string');
  },
};

/** How many lines make an order of 10 KB. */
const LINES = 63;

export const ORDER: Shape<Order> = {
  make: (id, random) => ({
    id,
    customer: { name: words(random, 2), street: words(random, 3), city: words(random, 1), zip: String(10_000 + below(random, 90_000)) },
    paid: random() < 0.5,
    lines: Array.from({ length: LINES }, () => ({
      sku: `${words(random, 1)}-${below(random, 10_000)}`,
      title: words(random, 6),
      quantity: below(random, 100),
      price: cents(random),
      tax: 0.19,
      options: [words(random, 1), words(random, 1)],
      note: random() < 0.5 ? null : words(random, 5),
    })),
  }),
  change(value, random) {
    const lines = value.lines.slice();
    const which = below(random, lines.length);
    lines[which] = { ...lines[which]!, quantity: (lines[which]!.quantity + 1) % 100 };
    return { ...value, lines };
  },
  checksum(order) {
    const { customer, lines } = order;
    let sum = text(order.id) + text(customer.name) + text(customer.street) + text(customer.city) + text(customer.zip);
    sum += order.paid ? 1 : 2;
    for (let i = 0; i < lines.length; i++) {
      const line = lines[i]!;
      sum += text(line.sku) + text(line.title) + line.quantity + number(line.price) + number(line.tax);
      const { options } = line;
      for (let j = 0; j < options.length; j++) sum += text(options[j]!);
      sum += line.note === null ? 3 : text(line.note);
    }
    return sum | 0;
  },
  schema: Order,
  check(value) {
    if (!isObject(value)) return false;
    const { id, customer, paid, lines } = value as Record<string, unknown>;
    if (!(typeof id === 'string' && id.length >= 1 && isObject(customer) && typeof paid === 'boolean')) return false;
    const { name, street, city, zip } = customer as Record<string, unknown>;
    if (!(typeof name === 'string' && typeof street === 'string' && typeof city === 'string' && typeof zip === 'string')) return false;
    if (!Array.isArray(lines)) return false;
    for (let i = 0; i < lines.length; i++) if (!isLine(lines[i])) return false;
    return true;
  },
};

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isStrings(value: unknown): boolean {
  if (!Array.isArray(value)) return false;
  for (let i = 0; i < value.length; i++) if (typeof value[i] !== 'string') return false;
  return true;
}

function isLine(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { sku, title, quantity, price, tax, options, note } = value as Record<string, unknown>;
  return typeof sku === 'string' && typeof title === 'string'
    && Number.isSafeInteger(quantity) && (quantity as number) >= 0
    && Number.isFinite(price) && Number.isFinite(tax)
    && isStrings(options)
    && (note === null || typeof note === 'string');
}

/** The item at `index` where each is made by itself. */
export function itemAt(index: number): Item {
  return ITEM.make(`item:${1000 + index}`, randomFrom(index));
}

/** Whether two values are the same, whatever the order of their properties. */
export function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const keys = fields(a);
  if (Array.isArray(a) !== Array.isArray(b) || keys.length !== fields(b).length) return false;
  return keys.every((key) => isSame((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]));
}

/** Names that begin with a dollar are what TanStack DB adds to a record. */
function fields(value: object): string[] {
  return Object.keys(value).filter((name) => !name.startsWith('$'));
}

/** A shape whose records nobody names. */
export type AnyShape = Shape<unknown>;

// A shape is only ever given its own records.
export const shapes = { item: ITEM as Shape<never>, order: ORDER as Shape<never> } as unknown as Record<'item' | 'order', AnyShape>;
