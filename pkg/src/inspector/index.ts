// The inspector: what became of every envelope, and why, as an element for any page.

export { defineInspector, TidewireInspector, type InspectOptions } from './element.js';
export { type FrameMessage, readFrame } from './frame.js';
export { type Happening, type Outcome, Tap, type Watchable } from './tap.js';
