// A value in one line, as far as it fits: the work is bounded by what is shown, however large the value is.

/** JSON, cut after about `limit` characters; what JSON lacks is named. */
export function describe(value: unknown, limit: number): string {
  const parts: string[] = [];
  let left = limit;
  const add = (text: string): boolean => {
    parts.push(text.length > left ? text.slice(0, Math.max(0, left)) : text);
    left -= text.length;
    return left >= 0;
  };
  /** Returns whether there is room for more. */
  const write = (each: unknown, depth: number): boolean => {
    if (typeof each === 'string') return add(JSON.stringify(each.length > left ? each.slice(0, Math.max(0, left) + 1) : each));
    if (each === null || typeof each !== 'object') return add(typeof each === 'function' ? 'function' : String(each));
    if (depth > 32) return add('…');
    if (ArrayBuffer.isView(each)) return add(`${each.byteLength} bytes`);
    if (Array.isArray(each)) return list('[', ']', each.length, (index) => write(each[index], depth + 1));
    const object = each as Record<string, unknown>;
    const names: string[] = [];
    for (const name in object) {
      names.push(name);
      // A name takes three characters at least.
      if (names.length * 3 > left) break;
    }
    return list('{', '}', names.length, (index) => add(`${JSON.stringify(names[index])}:`) && write(object[names[index]!], depth + 1));
  };
  const list = (open: string, close: string, length: number, item: (index: number) => boolean): boolean => {
    if (!add(open)) return false;
    for (let index = 0; index < length; index++) if ((index > 0 && !add(',')) || !item(index)) return false;
    return add(close);
  };
  if (value === undefined) return 'no value';
  return write(value, 0) ? parts.join('') : `${parts.join('')}…`;
}
