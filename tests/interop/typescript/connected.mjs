// A connected client, for one case: `node CASE.mjs auto|legacy|sse URL`. What the case returns goes to stdout as JSON.

import { Client, SSEClientTransport, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

export async function connected(work) {
    const [mode, url] = process.argv.slice(2);
    const client = new Client(
        { name: 'typescript', version: '1.0' },
        {
            capabilities: { elicitation: { form: {} } },
            versionNegotiation: { mode: mode === 'auto' ? 'auto' : 'legacy' }
        }
    );
    const Transport = mode === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;
    await client.connect(new Transport(new URL(url)));
    const found = { revision: client.getNegotiatedProtocolVersion(), result: await work(client) };
    await client.close();
    console.log(JSON.stringify(found));
}
