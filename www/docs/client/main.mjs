/** What the docs do beside being read: search, copy, and say which section is on the screen. All of it also reads without. */
import { copying } from './copy.mjs'
import { outline } from './outline.mjs'
import { searching } from './find.mjs'

copying()
outline()
searching()
