// The client that the conformance suite looks at: it calls every tool once.
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js'
const c = new Client({ name: 'agent', version: '1.0.0' }, { capabilities: { elicitation: { applyDefaults: true, form: { applyDefaults: true } } } })
c.setRequestHandler(ElicitRequestSchema, async () => ({ action: 'accept', content: {} }))
await c.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])))
for (const t of (await c.listTools()).tools) {
  const r = await c.callTool({ name: t.name, arguments: t.name === 'add_numbers' ? { a: 5, b: 3 } : {} })
  console.log(t.name, JSON.stringify(r.content))
}
await c.close()
process.exit(0)
