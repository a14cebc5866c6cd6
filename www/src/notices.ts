/** Messages at the foot of a pane: writes that take long, writes that were refused, and the way back from a deletion. */
import { effect, type ReadonlySignal } from '@preact/signals-core'
import { h } from './dom'
import type { Verb, Write, Writes } from './writes'

const UNDO_FOR = 10_000
/** A write that is answered sooner needs no notice: the row's own mark is enough. */
const SLOW = 600

const UNDER_WAY: Record<Verb, string> = { save: 'Saving', add: 'Adding', delete: 'Deleting', restore: 'Restoring' }
const REFUSED: Record<Verb, string> = { save: 'was not saved', add: 'was not added', delete: 'was not deleted', restore: 'was not restored' }

export class Notices {
  readonly element = h('div', { class: 'notices', 'data-testid': 'notices' })
  readonly #said = h('div', { class: 'notices-said', role: 'status' })
  readonly #writes = h('div', { class: 'notices-writes' })
  readonly #shown = new Map<number, { state: string; node: HTMLElement }>()

  /** The record `inEditor` is told about by the editor itself. `reopen` leads back to the form that still holds the user's input. */
  constructor(writes: Writes, inEditor: ReadonlySignal<string | undefined>, reopen: (write: Write) => void) {
    this.element.append(this.#writes, this.#said)
    effect(() => {
      const told = writes.all.value.filter((write) => write.key !== inEditor.value)
      this.#show(writes, told, reopen)
    })
  }

  /** Says something for a while, with one thing to do about it. */
  say(text: string, action?: { label: string; testid: string; run: () => void }): void {
    const node = h('div', { class: 'notice' }, h('p', {}, text))
    let timer: ReturnType<typeof setTimeout> | undefined
    const wait = (): void => {
      clearTimeout(timer)
      timer = setTimeout(() => node.remove(), action ? UNDO_FOR : 4_000)
    }
    const hold = (): void => clearTimeout(timer)
    if (action) {
      const run = (): void => {
        hold()
        node.remove()
        action.run()
      }
      node.append(h('button', { type: 'button', class: 'button', 'data-testid': action.testid, onclick: run }, action.label))
    }
    node.addEventListener('pointerenter', hold)
    node.addEventListener('pointerleave', wait)
    node.addEventListener('focusin', hold)
    node.addEventListener('focusout', wait)
    this.#said.replaceChildren(node)
    wait()
  }

  #show(writes: Writes, all: readonly Write[], reopen: (write: Write) => void): void {
    const open = new Set(all.map(({ id }) => id))
    for (const [id, { node }] of this.#shown) {
      if (open.has(id)) continue
      node.remove()
      this.#shown.delete(id)
    }
    for (const write of all) {
      const before = this.#shown.get(write.id)
      if (before?.state === write.state.tag) continue
      const node = write.state.tag === 'pending' ? pending(write) : failed(write, write.state.reason, writes, reopen)
      if (before) before.node.replaceWith(node)
      else this.#writes.append(node)
      this.#shown.set(write.id, { state: write.state.tag, node })
    }
  }
}

function pending(write: Write): HTMLElement {
  const node = h('div', { class: 'notice notice-pending', hidden: true, 'data-testid': 'pending-write' }, h('p', {}, `${UNDER_WAY[write.verb]} `, h('bdi', {}, write.label), '. Waiting for the answer.'))
  setTimeout(() => (node.hidden = false), SLOW)
  return node
}

function failed(write: Write, reason: string, writes: Writes, reopen: (write: Write) => void): HTMLElement {
  const buttons = [h('button', { type: 'button', class: 'button', 'data-testid': 'retry', onclick: () => void writes.retry(write) }, 'Try again')]
  if (write.verb === 'save' || write.verb === 'add') {
    buttons.push(h('button', { type: 'button', class: 'button', onclick: () => reopen(write) }, 'Edit'))
  }
  buttons.push(h('button', { type: 'button', class: 'button', 'data-testid': 'discard', onclick: () => writes.discard(write.id) }, 'Dismiss'))
  return h(
    'div',
    { class: 'notice notice-failed', role: 'alert', 'data-testid': 'failed-write' },
    h('p', {}, h('bdi', {}, write.label), ` ${REFUSED[write.verb]}: ${reason}`),
    h('div', { class: 'notice-actions' }, ...buttons),
  )
}
