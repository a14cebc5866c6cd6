// What one writes with socket.io: a room for each key.

import { createServer } from 'node:http';
import { Server } from 'socket.io';

const http = createServer();
const server = new Server(http, { transports: ['websocket'], perMessageDeflate: false });

server.on('connection', (socket) => {
  socket.on('follow', (keys, done) => {
    socket.join(keys);
    done();
  });
  socket.on('put', (key, value) => server.to(key).emit('value', key, value));
});

http.listen(Number(process.argv[2]), '127.0.0.1');
