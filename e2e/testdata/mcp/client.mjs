// A client of MCP with the official SDK: says what it sees, one JSON text a line.
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ElicitRequestSchema, CreateMessageRequestSchema } from '@modelcontextprotocol/sdk/types.js'

const say = o => console.log(JSON.stringify(o))
const c = new Client({ name: 'agent', version: '1.0.0' }, { capabilities: { elicitation: {}, sampling: {} } })
c.setRequestHandler(ElicitRequestSchema, async () => ({ action: 'accept', content: { name: 'Ada' } }))
c.setRequestHandler(CreateMessageRequestSchema, async () => { say({ leak: true }); return { model: 'm', role: 'assistant', content: { type: 'text', text: 'the secret' } } })
const t = new StreamableHTTPClientTransport(new URL(process.argv[2]))
await c.connect(t)
const list = async () => say({ list: (await c.listTools()).tools.map(x => x.name).sort() })
const call = async (name, args) => {
  try {
    const steps = []
    const r = await c.callTool({ name, arguments: args }, undefined, { timeout: 8000, onprogress: p => steps.push(p.progress) })
    say({ call: name, text: r.content[0].text, steps })
  } catch (e) { say({ call: name, code: e.code, error: e.message }) }
}
await list()
await call('read_file', { path: '/work/a' })
await call('read_file', { path: '/etc/shadow' })
await call('write_file', { path: '/work/a' })
await call('progress', {})
await call('ask_user', {})
await call('ask_model', {})
await call('change', {})
await list()
await call('read_file', { path: '/work/a' })
try { await c.listResources(); say({ resources: true }) } catch (e) { say({ resources: false, code: e.code }) }
await t.terminateSession()
await c.close()
say({ end: true })
process.exit(0)
