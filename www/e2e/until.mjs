/** Makes a function that waits for a condition, for `step` milliseconds unless told otherwise. An assertion inside the
 *  condition fails at once: waiting would not mend it. */
export function waiting(step) {
  return async (what, condition, within = step) => {
    const end = Date.now() + within
    while (!(await condition())) {
      if (Date.now() > end) throw new Error(`waited ${within / 1000} s in vain until ${what}`)
      await new Promise((resolve) => setTimeout(resolve, 40))
    }
  }
}
