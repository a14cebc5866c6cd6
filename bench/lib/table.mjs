// The results as text.

import { ratio, spread, verdicts, WORKLOADS } from '../dist/node/runner.js';

const number = (value) => value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);

function columns(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) => row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join('  ').trimEnd());
}

/** One workload in one environment: every contestant, as times of the first, which is Tidewire. */
export function contestTable(environment, contest) {
  const [first] = contest.results;
  const rows = contest.results.map((result) => {
    const { median, min, max } = spread(result.microseconds);
    const times = result === first ? '' : number(ratio(first, result).median);
    return [`  ${result.label}`, result.gateRan, number(median), `${number(min)}..${number(max)}`, times, result.bytes > 0 ? result.bytes.toFixed(0) : ''];
  });
  return [`${environment.name}: ${contest.label}`, ...columns([['', 'gate', 'µs', 'min..max', 'times ours', 'bytes'], ...rows]), ''];
}

const megabytes = (bytes) => bytes === undefined ? 'over a minute' : number(bytes / 1e6);

/** What it takes to hold records. */
export function heldTable({ name, held }) {
  const rows = held.map(({ label, count, unread, read }) => [`  ${label}`, String(count), megabytes(unread), megabytes(read)]);
  return [`${name}: memory of records of 200 bytes`, ...columns([['', 'records', 'MB unread', 'MB all read'], ...rows]), ''];
}

/** From nothing to the first record. */
export function startTable({ name, starts }) {
  const rows = starts.map(({ label, milliseconds }) => {
    const { median, min, max } = spread(milliseconds);
    return [`  ${label}`, number(median), `${number(min)}..${number(max)}`];
  });
  return [`${name}: import to first record, warm cache`, ...columns([['', 'ms', 'min..max'], ...rows]), ''];
}

/** What a page downloads. */
export function downloadTable(downloads) {
  const rows = downloads.map(({ label, script, wasm }) => [`  ${label}`, String(script), String(wasm), String(script + wasm)]);
  return ['download, bytes after brotli', ...columns([['', 'script', 'wasm', 'all'], ...rows]), ''];
}

/** Every bar in every environment. */
export function barTable(environments) {
  const rows = environments.flatMap((environment) => verdicts(environment, WORKLOADS).map(({ what, against, ratio: measured, best, times, isMet }) => [
    `${environment.name}: ${what}, against ${against}`, number(measured.median),
    `${number(measured.min)}..${number(measured.max)}`, number(best), number(times), isMet ? 'met' : 'MISSED',
  ]));
  return { lines: columns([['bar', 'ratio', 'min..max', 'of best', 'at least', ''], ...rows]), rows };
}
