/** Marks, in the list of the page's sections, the one that is being read. */

export function outline() {
  const links = new Map([...document.querySelectorAll('.outline-wide a')].map((link) => [decodeURIComponent(link.hash.slice(1)), link]))
  if (links.size === 0) return
  const headings = [...links.keys()].map((id) => document.getElementById(id))
  let marked
  const mark = () => {
    // The last heading above the upper third; at the end of the page, the last one.
    const line = innerHeight / 3
    const isEnd = scrollY + innerHeight >= document.documentElement.scrollHeight - 2
    const heading = isEnd ? headings.at(-1) : (headings.findLast((each) => each.getBoundingClientRect().top < line) ?? headings[0])
    const link = links.get(heading.id)
    if (link === marked) return
    marked?.removeAttribute('aria-current')
    link.setAttribute('aria-current', 'location')
    marked = link
    const list = link.closest('nav')
    // Not scrollIntoView: that would move the page too.
    if (link.offsetTop < list.scrollTop || link.offsetTop + link.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = link.offsetTop - list.clientHeight / 2
  }
  let isPlanned = false
  addEventListener('scroll', () => {
    if (isPlanned) return
    isPlanned = true
    requestAnimationFrame(() => {
      isPlanned = false
      mark()
    })
  }, { passive: true })
  mark()
}
