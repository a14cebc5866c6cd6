/** The buttons that copy a block of code. */

/** How long a button says that it has copied. */
const SAID = 2_000

export function copying() {
  const status = document.getElementById('status')
  document.addEventListener('click', async ({ target }) => {
    const button = target instanceof Element ? target.closest('.copy') : null
    if (!button) return
    const code = button.parentElement.querySelector('code')
    const words = (await copied(code)) ? 'Copied' : 'Selected: press Ctrl+C'
    button.firstChild.data = words
    status.textContent = words
    setTimeout(() => {
      button.firstChild.data = 'Copy'
      status.textContent = ''
    }, SAID)
  })
}

/** Pages without a secure context have no clipboard: there the code is selected, which is all but the last key. */
async function copied(code) {
  try {
    await navigator.clipboard.writeText(code.textContent)
    return true
  } catch {
    getSelection().selectAllChildren(code)
    return false
  }
}
