/**
 * The writes under way in one pane. A write is shown from the click to the authority's answer; a refused one stays,
 * with its reason, until the user retries or discards it. The record itself changes only when the authority says so.
 */
import { computed, signal, type ReadonlySignal } from '@preact/signals-core'

export type Verb = 'save' | 'add' | 'delete' | 'restore'

export type WriteState = { readonly tag: 'pending' } | { readonly tag: 'failed'; readonly reason: string }

export interface Write {
  readonly id: number
  readonly verb: Verb
  readonly key: string
  readonly label: string
  readonly state: WriteState
  readonly run: () => Promise<unknown>
}

export type Outcome = { readonly ok: true } | { readonly ok: false; readonly reason: string }

export class Writes {
  readonly #all = signal<readonly Write[]>([])
  #lastId = 0

  readonly all: ReadonlySignal<readonly Write[]> = this.#all
  readonly pending = computed(() => this.#all.value.filter((write) => write.state.tag === 'pending'))
  readonly failed = computed(() => this.#all.value.filter((write) => write.state.tag === 'failed'))

  /** True from the click until the answer: a change that arrives meanwhile is the user's own. */
  isPending(key: string): boolean {
    return this.#all.peek().some((write) => write.key === key && write.state.tag === 'pending')
  }

  /** Runs `run` and keeps the write in view until it is settled. A new write of a key replaces its failed one. */
  async start(verb: Verb, key: string, label: string, run: () => Promise<unknown>): Promise<Outcome> {
    const id = ++this.#lastId
    const kept = this.#all.peek().filter((write) => write.key !== key || write.state.tag === 'pending')
    this.#all.value = [...kept, { id, verb, key, label, run, state: { tag: 'pending' } }]
    try {
      await run()
      this.discard(id)
      return { ok: true }
    } catch (error) {
      const reason = reasonOf(error)
      this.#all.value = this.#all
        .peek()
        .map((write) => (write.id === id ? { ...write, state: { tag: 'failed', reason } } : write))
      return { ok: false, reason }
    }
  }

  retry(write: Write): Promise<Outcome> {
    return this.start(write.verb, write.key, write.label, write.run)
  }

  discard(id: number): void {
    this.#all.value = this.#all.peek().filter((write) => write.id !== id)
  }
}

/** The sentence to show for anything that was thrown, with the numbered or named code if it carries one. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = (error as { code?: unknown }).code
  const known = typeof code === 'string' || typeof code === 'number'
  return known && !error.message.includes(String(code)) ? `${error.message} (${code})` : error.message
}
