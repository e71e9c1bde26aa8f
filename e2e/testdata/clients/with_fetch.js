// Speaks HTTP with Node's own fetch: version, base. See httpClients.
const [, , version, base] = process.argv;

async function show(what, url, options) {
  const r = await fetch(url, options);
  console.log(what, r.status, version, (await r.text()).replaceAll('\n', ' ')); // it has no other version, and names none
}
function parts() {
  let i = 0;
  return new ReadableStream({
    pull(c) { i++ < 30 ? c.enqueue(new Uint8Array(10000)) : c.close(); },
  });
}
(async () => {
  await show('get', base + '/public/get', { headers: { 'X-Token': process.env.TOKEN } });
  await show('denied', base + '/secret');
  await show('post', base + '/public/post', { method: 'POST', body: parts(), duplex: 'half' });
  await show('host', base.replace('ok.', 'no.') + '/');
  const all = Array.from({ length: 16 }, async () => { const r = await fetch(base + '/public/many'); await r.text(); return r.ok; });
  console.log('many', (await Promise.all(all)).filter(Boolean).length);
})();
