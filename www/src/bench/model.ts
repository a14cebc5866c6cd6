/** The benchmark's results and its runner, as this page sees them: bench/src/result.ts says what they mean. */
import type { run, WORKLOADS } from '../../../bench/src/runner'

export type { Contest, Download, Environment, Held, Report, Start } from '../../../bench/src/result'

export interface Runner {
  readonly run: typeof run
  readonly WORKLOADS: typeof WORKLOADS
}
