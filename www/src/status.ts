/** The lamp and the words that say how a client is connected; the countdown ticks, its announcements do not. */
import { effect, type ReadonlySignal } from '@preact/signals-core'
import { h, setText } from './dom'
import type { Status } from './replica'
import { reasonOf } from './writes'

export function statusLamp(status: ReadonlySignal<Status>): HTMLElement {
  const words = h('span', { class: 'status-words', 'aria-hidden': 'true' })
  const announced = h('span', { class: 'visually-hidden', role: 'status' })
  const lamp = h('div', { class: 'status', 'data-testid': 'status' }, h('span', { class: 'lamp', 'aria-hidden': 'true' }), words, announced)

  effect(() => {
    const now = status.value
    lamp.dataset['state'] = now.state
    lamp.title = now.state === 'reconnecting' ? now.reason : ''
    setText(announced, label(now.state))
  })
  showStatus(words, status)
  return lamp
}

/** Keeps the status as words in `node`, a countdown included. */
export function showStatus(node: HTMLElement, status: ReadonlySignal<Status>): void {
  effect(() => {
    const now = status.value
    const show = (): void => setText(node, sentence(now))
    show()
    if (now.state !== 'reconnecting') return
    const timer = setInterval(show, 250)
    return () => clearInterval(timer)
  })
}

function label(state: Status['state']): string {
  switch (state) {
    case 'connecting':
      return 'Connecting'
    case 'live':
      return 'Live'
    case 'reconnecting':
      return 'Reconnecting'
    case 'offline':
      return 'Offline'
    case 'closed':
      return 'Closed'
  }
}

function sentence(status: Status): string {
  if (status.state === 'reconnecting' && status.nextAttemptAt !== null) {
    const seconds = Math.ceil((status.nextAttemptAt - Date.now()) / 1000)
    return seconds > 0 ? `Reconnecting in ${seconds} s` : 'Reconnecting'
  }
  if (status.state === 'closed' && status.error) return `Closed: ${reasonOf(status.error)}`
  return label(status.state)
}
