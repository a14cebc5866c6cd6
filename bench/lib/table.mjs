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

/** Every bar in every environment. */
export function barTable(environments) {
  const rows = [];
  for (const environment of environments) {
    for (const contest of environment.contests) {
      const workload = WORKLOADS.find(({ id }) => id === contest.workload);
      for (const { bar, ratio: measured, times, isMet } of verdicts(contest, workload, environment.name)) {
        const [ours, theirs] = [bar.ours, bar.theirs].map((wanted) => contest.results.find(({ id }) => id === wanted));
        const best = spread(theirs.microseconds).min / spread(ours.microseconds).min;
        rows.push([
          `${environment.name}: ${contest.label}, against ${theirs.label}`, number(measured.median),
          `${number(measured.min)}..${number(measured.max)}`, number(best), number(times), isMet ? 'met' : 'MISSED',
        ]);
      }
    }
  }
  return { lines: columns([['bar', 'ratio', 'min..max', 'of best', 'at least', ''], ...rows]), rows };
}
