// Talks to an echo server with the package ws: URL, Host, and how it compresses.
const WebSocket = require('ws');
const [, , url, host, mode] = process.argv;
const ws = new WebSocket(url, {
  headers: { Host: host },
  perMessageDeflate: mode === 'deflate' ? { clientNoContextTakeover: true, clientMaxWindowBits: false, threshold: 0 } : mode === 'default',
});
const list = ['hello', '', 'é'.repeat(70000), Buffer.from([0, 255, 254]), 'x'.repeat(1 << 20), Buffer.alloc(3 << 20, 7)];
let i = 0, pongs = 0;
ws.on('open', () => { console.log('extension', ws.extensions !== ''); ws.ping('beat'); ws.send(list[0]); });
ws.on('pong', (d) => { pongs += d.toString() === 'beat' ? 1 : 0; });
ws.on('message', (d, binary) => {
  if (!Buffer.from(list[i]).equals(d) || binary !== Buffer.isBuffer(list[i])) { console.log('message', i, 'differs'); process.exit(1); }
  if (++i === list.length) { ws.close(4000, 'done'); return; }
  ws.send(list[i]);
});
ws.on('close', (code) => console.log('close', code, 'messages', i, 'pongs', pongs));
ws.on('error', (e) => console.log('error', e.message));
