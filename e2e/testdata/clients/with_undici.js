// Speaks HTTP with the package undici: version, base. See httpClients.
const { Agent, request } = require('undici');
const { Readable } = require('stream');
const [, , version, base] = process.argv;
const dispatcher = new Agent({ allowH2: version === '2', connections: 4 });

// What was spoken undici does not say: of TLS the socket tells it.
let spoken = '1.1';
require('diagnostics_channel').subscribe('undici:client:connected', ({ socket }) => {
  spoken = socket.alpnProtocol === 'h2' ? '2' : '1.1';
});

async function show(what, url, options) {
  const r = await request(url, { dispatcher, ...options });
  const text = await r.body.text();
  console.log(what, r.statusCode, spoken, text.replaceAll('\n', ' '));
}
function* parts() {
  for (let i = 0; i < 30; i++) yield Buffer.alloc(10000, 'x');
}
async function ok() {
  const r = await request(base + '/public/many', { dispatcher });
  await r.body.dump();
  return r.statusCode === 200;
}
(async () => {
  await show('get', base + '/public/get', { headers: { 'X-Token': process.env.TOKEN } });
  await show('denied', base + '/secret');
  await show('post', base + '/public/post', { method: 'POST', body: Readable.from(parts()) });
  await show('host', base.replace('ok.', 'no.') + '/');
  console.log('many', (await Promise.all(Array.from({ length: 16 }, ok))).filter(Boolean).length);
  await dispatcher.close();
})();
