// What one writes with `ws`: whatever comes in goes to everybody else.

import { WebSocketServer } from 'ws';

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]), perMessageDeflate: false });

server.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data) => {
    for (const client of server.clients) {
      if (client !== socket) client.send(data, { binary: true });
    }
  });
});
