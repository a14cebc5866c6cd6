// Writes what a follower begins from, in a process of its own: what a server leaves behind is none of the follower's.
//
//   node bench/lib/prepare.mjs FOLLOWER COUNT FILE

import { writeFileSync } from 'node:fs';
import { initial } from '../dist/node/prepare.js';

const [id, count, file] = process.argv.slice(2);
writeFileSync(file, await initial(id, Number(count)));
process.exit(0);
