// Echoes with the package ws, on a port that it prints.
const { WebSocketServer } = require('ws');
const wss = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: { threshold: 0 }, maxPayload: 64 << 20 });
wss.on('connection', (ws) => ws.on('message', (d, binary) => ws.send(d, { binary })));
wss.on('listening', () => console.log(wss.address().port));
