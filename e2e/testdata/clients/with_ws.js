// Talks to an echo server with the package ws: URL and text, of several. See TestWebSocketClients.
const WebSocket = require('ws');

const talk = (url, text) => new Promise((done) => {
  const ws = new WebSocket(url);
  ws.on('open', () => ws.send(text));
  ws.on('message', (m) => { console.log('got', m.toString()); ws.close(4001, 'enough'); });
  ws.on('unexpected-response', (_, r) => {
    let body = '';
    r.on('data', (d) => { body += d; });
    r.on('end', () => { console.log('answered', r.statusCode, body.replaceAll('\n', ' ')); done(); });
  });
  ws.on('error', (e) => console.log('error', e.message));
  ws.on('close', (code, reason) => { console.log('closed', code, reason.toString()); done(); });
});
(async () => {
  for (let i = 2; i < process.argv.length; i += 2) await talk(process.argv[i], process.argv[i + 1]);
})();
