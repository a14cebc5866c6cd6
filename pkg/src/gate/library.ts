// Schemas of libraries, said in JSON Schema for the core's gate, where that is possible without a loss.
//
// The gate answers for a library only where the library would accept the value and give back an equal one. So this reads
// the library's own definition of a schema by a list of what is known to do neither more nor less than the keywords that
// it becomes: whatever refines, transforms, coerces or fills in is not on it, nor is what is new in a later version. An
// object that takes unknown keys away is written as one that has none: the gate then asks the library about values that
// have some. The rules of that dialect are in docs/gate.md.

/** A JSON Schema in the making. */
export type Node = Record<string, unknown> | boolean;

/** Says what of a schema has no counterpart. */
export class Lossy extends Error {}

/** A schema of a library as JSON Schema. A `pattern` there begins with its index in `patterns`. */
export interface Converted {
  readonly schema: Node;
  readonly patterns: readonly RegExp[];
}

interface Check { readonly _zod: { readonly def: Def } }
interface Zod extends Check { readonly _zod: { readonly def: Def; readonly optin?: string; readonly innerType?: Zod; readonly values?: Set<unknown> } }
// What is read of them is checked where it is used.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Def = Record<string, any>;

const lossy = (what: string): never => {
  throw new Lossy(what);
};

/** Converts the schema of a library. @throws Lossy */
export function convert(schema: object, vendor: string): Converted {
  const patterns: RegExp[] = [];
  const defs: Record<string, Node> = {};
  const open = new Map<object, string | undefined>();
  let names = 0;

  /** Converts a part that may contain itself. */
  function part(source: object, make: () => Node): Node {
    if (open.has(source)) {
      const name = open.get(source) ?? `d${names++}`;
      open.set(source, name);
      return { $ref: `#/$defs/${name}` };
    }
    open.set(source, undefined);
    const node = make();
    const name = open.get(source);
    open.delete(source);
    if (name === undefined) return node;
    defs[name] = node;
    return { $ref: `#/$defs/${name}` };
  }

  const pattern = (source: unknown): Node => {
    // One with a state would not say the same twice.
    if (!(source instanceof RegExp) || /[gy]/.test(source.flags)) return lossy('a pattern with the flag g or y');
    // With its text, as the core takes the same schema for the same gate.
    return { pattern: `${patterns.push(source) - 1} ${source}` };
  };

  const zod = (inst: Zod): Node => part(inst, () => {
    const def = inst._zod?.def ?? lossy('a schema without a definition');
    const checks: Def[] = (def.checks ?? []).map((check: Check) => check._zod.def);
    if (def.check !== undefined) checks.push(def);
    if (def.coerce) lossy('coerce');
    return all(zodType(inst, def), checks.map((check) => zodCheck(def.type, check, pattern)));
  });

  function zodType(inst: Zod, def: Def): Node {
    switch (def.type) {
      case 'string': case 'number': case 'boolean': case 'null': return { type: def.type };
      case 'any': case 'unknown': return {};
      case 'never': return false;
      case 'literal': case 'enum': return constants([...(inst._zod.values ?? [])]);
      case 'array': return { type: 'array', items: zod(def.element) };
      case 'tuple': return tuple(def.items.map((item: Zod) => item._zod.optin ? lossy('an optional item') : zod(item)), def.rest ? zod(def.rest) : false);
      case 'object': return object(
        Object.entries(def.shape).map(([name, field]) => [name, zod(field as Zod), (field as Zod)._zod.optin === undefined]),
        def.catchall ? zod(def.catchall) : false, def.shape);
      case 'record': return def.mode === 'loose' || def.partial || def.keyType._zod.values ? lossy('a record of this kind') : record(def.keyType._zod.def.type === 'string' ? zod(def.keyType) : lossy('keys that are no strings'), zod(def.valueType));
      case 'union':
        if (def.discriminator !== undefined) {
          for (const option of def.options as Zod[]) {
            const field = option._zod.def.type === 'object' ? option._zod.def.shape[def.discriminator] : undefined;
            if (field?._zod.values === undefined || field._zod.optin !== undefined) lossy('a discriminator of this kind');
          }
        } else if (def.inclusive === false) lossy('xor');
        return { anyOf: def.options.map(zod) };
      case 'optional': case 'nonoptional': return zod(def.innerType);
      case 'nullable': return { anyOf: [{ type: 'null' }, zod(def.innerType)] };
      case 'lazy': return zod(inst._zod.innerType ?? lossy('lazy'));
      default: return lossy(String(def.type));
    }
  }

  const valibot = (source: Def): Node => part(source, () => {
    if (source.async || 'fallback' in source) lossy('fallback or async');
    const [, ...actions]: Def[] = source.pipe ?? [source];
    return all(valibotType(source), actions.map((action) => valibotAction(source.type, action, pattern)));
  });

  function valibotType(source: Def): Node {
    if (source.default !== undefined) lossy('default');
    const entries = (others: Node): Node => object(
      Object.entries(source.entries as Record<string, Def>).map(([name, field]) => [name, valibot(field), !/^(exact_)?optional$|^nullish$/.test(field.type)]),
      others, source.entries);
    switch (source.type) {
      case 'string': case 'number': case 'boolean': case 'null': return { type: source.type };
      case 'any': case 'unknown': return {};
      case 'never': return false;
      case 'literal': return constants([source.literal]);
      case 'picklist': case 'enum': return constants(source.options);
      case 'array': return { type: 'array', items: valibot(source.item) };
      case 'strict_tuple': return tuple(source.items.map(valibot), false);
      case 'tuple_with_rest': return tuple(source.items.map(valibot), valibot(source.rest));
      case 'object': case 'strict_object': return entries(false);
      case 'loose_object': return entries(true);
      case 'object_with_rest': return entries(valibot(source.rest));
      case 'record': return record(source.key.type === 'string' ? valibot(source.key) : lossy('keys that are no strings'), valibot(source.value));
      case 'union': return { anyOf: source.options.map(valibot) };
      case 'optional': case 'exact_optional': return valibot(source.wrapped);
      case 'nullable': case 'nullish': return { anyOf: [{ type: 'null' }, valibot(source.wrapped)] };
      // It may choose by the value.
      case 'lazy': return source.getter.length > 0 ? lossy('lazy') : valibot(source.getter());
      default: return lossy(String(source.type));
    }
  }

  /** What `json` of an arktype says. Such a schema never changes a value but by what is not on this list. */
  function arktype(source: unknown): Node {
    if (source === 'string' || source === 'number') return { type: source };
    if (source === 'object' || typeof source === 'string') return lossy(source);
    if (Array.isArray(source)) return { anyOf: source.map(arktype) };
    if (Array.isArray((source as Def).branches)) return arktype((source as Def).branches);
    const { meta: _, domain: kind, proto, unit, required, optional, index, undeclared, sequence, pattern: texts, ...rest } = source as Def;
    const domain = typeof kind === 'object' ? kind.domain : kind;
    // What JSON has not, it writes as text.
    if ('unit' in (source as Def)) return typeof unit === 'string' && /^\$ark|^undefined$|^-?\d+n$|^[-+\d]+-\d\d-\d\dT/.test(unit) ? lossy(unit) : constants([unit]);
    if (domain === undefined && proto === undefined) return Object.keys(source as Def).every((key) => key === 'meta') ? {} : lossy('this kind of value');
    const bounds = Object.entries(rest).map(([rule, limit]) => bound(rule, limit));
    for (const text of texts ?? []) bounds.push(pattern(typeof text === 'string' ? new RegExp(text) : new RegExp(text.rule, text.flags)));
    if (proto !== undefined) return proto === 'Array' ? all({ type: 'array', ...items(sequence) }, bounds) : lossy(proto);
    if (domain === 'string' || domain === 'number') return all({ type: domain }, bounds);
    if (domain !== 'object' || (undeclared !== undefined && undeclared !== 'reject')) lossy('undeclared keys that are taken away');
    if (index !== undefined) {
      if (index.length > 1 || index[0].signature !== 'string' || required || optional || undeclared) lossy('an index of this kind');
      return record({}, arktype(index[0].value));
    }
    if (bounds.length > 0) lossy('this kind of object');
    const fields = [...(required ?? []), ...(optional ?? [])] as Def[];
    if (fields.some((field) => 'default' in field)) lossy('default');
    return object(fields.map(({ key, value }, at) => [key, arktype(value), at < (required ?? []).length]), undeclared !== 'reject', {});
  }

  function bound(rule: string, limit: Def | number): Node {
    const value = typeof limit === 'object' ? limit.rule : limit;
    const exclusive = typeof limit === 'object' && limit.exclusive;
    switch (rule) {
      case 'min': return { [exclusive ? 'exclusiveMinimum' : 'minimum']: safe(value) };
      case 'max': return { [exclusive ? 'exclusiveMaximum' : 'maximum']: safe(value) };
      case 'minLength': case 'maxLength': return exclusive ? lossy(rule) : length(rule.slice(0, 3), value);
      case 'exactLength': return length('', value);
      case 'divisor': return value === 1 ? { type: 'integer' } : lossy(rule);
      default: return lossy(rule);
    }
  }

  function items(sequence: unknown): Def {
    if (sequence === undefined) return {};
    const { prefix, variadic, ...rest } = sequence as Def;
    if (typeof sequence === 'string' || prefix === undefined) return { items: arktype(sequence) };
    if (Object.keys(rest).length > 0) lossy('a sequence of this kind');
    return tuple(prefix.map(arktype), variadic === undefined ? false : arktype(variadic)) as Def;
  }

  let root: Node;
  if (vendor === 'zod') root = zod(schema as Zod);
  else if (vendor === 'valibot') root = valibot(schema);
  else if (vendor === 'arktype') root = arktype((schema as { json: unknown }).json);
  else return lossy(`a schema of ${vendor}`);
  return { schema: names === 0 ? root : { $ref: '#/$defs/root', $defs: { ...defs, root } }, patterns };
}

/** A node that asks for all of these. */
function all(node: Node, more: Node[]): Node {
  return more.length === 0 ? node : { ...(node as Def), allOf: more };
}

/** A bound, constant or limit that JavaScript and the gate understand alike. */
function safe(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && (Number.isSafeInteger(value) || !Number.isInteger(value)) ? value : lossy('a number of this size');
}

function constants(values: readonly unknown[]): Node {
  for (const value of values) {
    if (value !== null && typeof value !== 'string' && typeof value !== 'boolean') safe(value);
  }
  return { enum: values };
}

/** Strings and arrays have a length; a gate passes over the keyword that is not about its value. */
function length(which: string, value: unknown): Node {
  const limit = safe(value);
  if (!Number.isInteger(limit) || limit < 0) return lossy('a length of this kind');
  return { ...(which !== 'max' && { minLength: limit, minItems: limit }), ...(which !== 'min' && { maxLength: limit, maxItems: limit }) };
}

function tuple(first: Node[], others: Node): Node {
  return { type: 'array', prefixItems: first, items: others, minItems: first.length };
}

function record(key: Node, value: Node): Node {
  return { type: 'object', properties: {}, propertyNames: key, additionalProperties: value };
}

function object(fields: (readonly [string, Node, boolean])[], others: Node, shape: object): Node {
  // Libraries read what is missing from the prototype, and symbols are in no JSON.
  if (Object.getOwnPropertySymbols(shape).length > 0 || fields.some(([name]) => name in {})) return lossy('a key of this kind');
  return {
    type: 'object',
    properties: Object.fromEntries(fields.map(([name, node]) => [name, node])),
    required: fields.filter(([, , isRequired]) => isRequired).map(([name]) => name),
    additionalProperties: others,
  };
}

/** Formats of zod that are a pattern and nothing else. */
const FORMATS = /^(regex|email|g?uid|uuid|nanoid|cuid2?|ulid|xid|ksuid|datetime|date|time|duration|ipv4|emoji|lowercase|uppercase|starts_with|ends_with)$/;

/** Formats of numbers: integers, and the bits of their magnitude. */
const INTEGERS: Record<string, readonly [number, number]> = {
  safeint: [-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER], int32: [-(2 ** 31), 2 ** 31 - 1], uint32: [0, 2 ** 32 - 1],
};

/** What is asked of a number means something else for a text that looks like one, and a length for other objects. */
function about(type: string, ...types: string[]): void {
  if (!types.includes(type)) lossy(`a check of this kind for ${type}`);
}

function zodCheck(type: string, check: Def, pattern: (source: unknown) => Node): Node {
  if (/_than$|^number_/.test(check.check)) about(type, 'number');
  else if (/length/.test(check.check)) about(type, 'string', 'array');
  else about(type, 'string');
  switch (check.check) {
    case 'less_than': return { [check.inclusive ? 'maximum' : 'exclusiveMaximum']: safe(check.value) };
    case 'greater_than': return { [check.inclusive ? 'minimum' : 'exclusiveMinimum']: safe(check.value) };
    case 'number_format': {
      const [minimum, maximum] = INTEGERS[check.format] ?? lossy(check.format);
      return { type: 'integer', minimum, maximum };
    }
    case 'min_length': return length('min', check.minimum);
    case 'max_length': return length('max', check.maximum);
    case 'length_equals': return length('', check.length);
    case 'string_format': return FORMATS.test(check.format) && check.fn === undefined ? pattern(check.pattern) : lossy(check.format);
    default: return lossy(String(check.check));
  }
}

/** Validations of valibot that are a pattern and nothing else. */
const VALIDATIONS = /^(regex|email|uuid|nanoid|cuid2|ulid|ip|ipv4|ipv6|slug|digits|decimal|hexadecimal|iso_(date|date_time|time|time_second|timestamp|week))$/;

function valibotAction(base: string, action: Def, pattern: (source: unknown) => Node): Node {
  const { kind, type, requirement } = action;
  if (action.async) return lossy('async');
  // They change nothing but types.
  if (kind === 'metadata' || (kind === 'transformation' && /^(brand|flavor|readonly)$/.test(type))) return {};
  if (kind !== 'validation') return lossy(String(type));
  if (/_value$|integer$/.test(type)) about(base, 'number');
  else if (/length|^non_empty$/.test(type)) about(base, 'string', 'array');
  else about(base, 'string');
  switch (type) {
    case 'min_value': return { minimum: safe(requirement) };
    case 'max_value': return { maximum: safe(requirement) };
    case 'gt_value': return { exclusiveMinimum: safe(requirement) };
    case 'lt_value': return { exclusiveMaximum: safe(requirement) };
    case 'integer': return { type: 'integer' };
    case 'safe_integer': return { type: 'integer', minimum: -Number.MAX_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER };
    case 'min_length': return length('min', requirement);
    case 'max_length': return length('max', requirement);
    case 'length': return length('', requirement);
    case 'non_empty': return length('min', 1);
    default: return VALIDATIONS.test(type) ? pattern(requirement) : lossy(String(type));
  }
}
