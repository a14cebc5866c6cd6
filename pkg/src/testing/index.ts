// For tests: the server of the page, whose clock can stand still and whose network can be as bad as one asks for. It is the
// one of `tidewire/server`; this entry point loads without waiting in every environment, as a test's imports should.

export * from '../server/index.js';
