/**
 * The search field: a combobox whose list are links. The index comes when the field is first used, so who does not search pays
 * nothing. `/` leads here from anywhere; the arrow keys go through what was found, Enter opens it, Escape ends it.
 */
import MiniSearch from 'minisearch'
import { OPTIONS } from '../search.mjs'

/** More than fits on a screen is another question. */
const MOST = 8

export function searching() {
  const form = document.querySelector('.find')
  const [input, list, status] = ['find', 'found', 'status'].map((id) => document.getElementById(id))
  let index
  /** Which of the list the arrow keys are at; none: the field itself. */
  let at = -1

  const load = () => (index ??= fetch(new URL(/* @vite-ignore */ 'search.json', import.meta.url)).then(async (answer) => {
    if (!answer.ok) throw new Error(`${answer.status}`)
    return MiniSearch.loadJSON(await answer.text(), OPTIONS)
  }).catch((error) => {
    // Another try with the next key.
    index = undefined
    throw error
  }))

  const show = async () => {
    const words = input.value.trim()
    if (words === '') return close()
    let found
    try {
      found = (await load()).search(words).slice(0, MOST)
    } catch {
      say('The search could not be loaded.')
      return
    }
    if (words !== input.value.trim()) return
    list.replaceChildren(...found.map(option))
    choose(-1)
    open(found.length > 0)
    say(found.length === 0 ? `Nothing found for “${words}”.` : '')
    status.textContent = found.length === 0 ? `Nothing found for ${words}` : `${found.length === MOST ? 'The best' : ''} ${found.length} found; the arrow keys go through them`.trim()
  }
  const say = (words) => {
    if (words === '') return
    const note = document.createElement('p')
    note.textContent = words
    list.replaceChildren(note)
    open(true)
  }
  const open = (isOpen) => {
    list.hidden = !isOpen
    input.setAttribute('aria-expanded', String(isOpen && list.querySelector('a') !== null))
  }
  const close = () => {
    open(false)
    choose(-1)
    status.textContent = ''
  }
  const choose = (next) => {
    const options = list.querySelectorAll('a')
    options[at]?.setAttribute('aria-selected', 'false')
    at = next
    const chosen = options[at]
    chosen?.setAttribute('aria-selected', 'true')
    chosen?.scrollIntoView({ block: 'nearest' })
    if (chosen) input.setAttribute('aria-activedescendant', chosen.id)
    else input.removeAttribute('aria-activedescendant')
  }

  input.addEventListener('focus', () => void load().catch(() => undefined), { once: true })
  input.addEventListener('input', () => void show())
  input.addEventListener('keydown', (event) => {
    const { length } = list.querySelectorAll('a')
    if (event.isComposing) return
    if (event.key === 'Escape') {
      event.preventDefault()
      input.value = ''
      close()
    } else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && !list.hidden && length > 0) {
      event.preventDefault()
      const step = event.key === 'ArrowDown' ? 1 : -1
      // Around, over the field itself.
      choose(((at + 1 + step + length + 1) % (length + 1)) - 1)
    }
  })
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const link = list.hidden ? undefined : list.querySelectorAll('a')[Math.max(0, at)]
    link?.click()
  })
  // A link to this very page loads nothing, so the list has to go by itself.
  list.addEventListener('click', ({ target }) => target instanceof Element && target.closest('a') && close())
  form.addEventListener('focusout', ({ relatedTarget }) => !form.contains(relatedTarget) && close())
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return
    event.preventDefault()
    input.focus()
    input.select()
  })
}

function option({ heading, title, url, excerpt }, number) {
  const link = document.createElement('a')
  link.href = new URL(url, import.meta.url).href
  link.id = `found-${number}`
  link.tabIndex = -1
  link.setAttribute('role', 'option')
  link.setAttribute('aria-selected', 'false')
  const part = (tag, text) => {
    const element = document.createElement(tag)
    element.textContent = text
    return element
  }
  link.append(part('b', heading), ...(title === heading ? [] : [part('i', title)]), part('span', excerpt))
  return link
}
