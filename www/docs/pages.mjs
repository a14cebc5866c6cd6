/** What the docs site is made of: its sidebar, in order. A page of `docs/` that is not named here comes at the end of its own accord. */

export const SECTIONS = [
  { title: 'Learn', pages: ['docs/start.md', 'docs/concepts.md', 'docs/guarantees.md'] },
  {
    title: 'Recipes',
    pages: [
      'docs/react.md', 'docs/vue.md', 'docs/svelte.md', 'docs/solid.md', 'docs/signals.md', 'docs/ssr.md', 'docs/services.md', 'docs/auth.md',
      'docs/testing.md', 'docs/inspector.md', 'docs/transport.md', 'docs/nats.md', 'docs/backend.md', 'docs/migration.md',
    ],
  },
  { title: 'Reference', pages: ['api', 'docs/errors.md', 'PROTOCOL.md', 'docs/gate.md', 'docs/operating.md', 'docs/scaling.md'] },
  { title: 'Measured', pages: ['docs/bench.md', 'docs/load.md', 'docs/cost.md', 'docs/size.md', 'docs/mutants.md'] },
  { title: 'Inside', pages: ['ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md'] },
]

/** Shorter names for the sidebar than some titles are. */
export const NAMES = {
  'docs/signals.md': 'TC39 signals',
  'docs/services.md': 'Pools, mailboxes, kv',
  'docs/testing.md': 'Testing with faults',
  'docs/nats.md': 'Over NATS',
  'docs/scaling.md': 'Several servers',
  'docs/auth.md': 'Who may do what',
  'docs/backend.md': 'A backend of your own',
  'docs/migration.md': 'From para-sync',
  'docs/operating.md': 'Operating the server',
  'docs/gate.md': 'Gates',
  'docs/bench.md': 'The client',
  'docs/load.md': 'The server',
  'docs/cost.md': 'The reconciler',
  'docs/size.md': 'The download',
  'docs/mutants.md': 'Mutants',
  'PROTOCOL.md': 'The protocol',
  'CONTRIBUTING.md': 'Contributing',
  'CHANGELOG.md': 'Changes',
}
