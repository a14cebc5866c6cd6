/** The lamp and the words that say how a client is connected; the countdown ticks, its announcements do not. */
import { effect, type ReadonlySignal } from '@preact/signals-core'
import { h, setText } from './dom'
import type { Status } from './replica'
import { reasonOf } from './writes'

export function statusLamp(status: ReadonlySignal<Status>): HTMLElement {
  const words = h('span', { class: 'status-words' })
  const announced = h('span', { class: 'visually-hidden', role: 'status' })
  const lamp = h('div', { class: 'status', 'data-testid': 'status' }, h('span', { class: 'lamp', 'aria-hidden': 'true' }), words, announced)

  let timer: ReturnType<typeof setInterval> | undefined
  effect(() => {
    const now = status.value
    lamp.dataset['state'] = now.state
    lamp.title = now.reason ?? ''
    setText(announced, label(now.state))
    clearInterval(timer)
    const show = (): void => setText(words, sentence(now))
    show()
    if (now.state === 'reconnecting') timer = setInterval(show, 250)
  })
  words.setAttribute('aria-hidden', 'true')
  return lamp
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
  if (status.state === 'reconnecting' && status.nextAttemptAt !== undefined) {
    const seconds = Math.ceil((status.nextAttemptAt - Date.now()) / 1000)
    return seconds > 0 ? `Reconnecting in ${seconds} s` : 'Reconnecting'
  }
  if (status.state === 'closed') {
    const why = status.reason ?? (status.error === undefined ? '' : reasonOf(status.error))
    return why ? `Closed: ${why}` : 'Closed'
  }
  return label(status.state)
}
