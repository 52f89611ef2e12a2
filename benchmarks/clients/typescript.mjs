// The official TypeScript SDK's client over stdio, with the orders of `control.py` that it is given: `progress N`.
// The modules are found in the folder that MCP_NODE_MODULES names.

import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const place = process.env.MCP_NODE_MODULES;
const load = (path) => import(pathToFileURL(`${place}/${path}`));
const { Client } = await load('@modelcontextprotocol/client/dist/index.mjs');
const { StdioClientTransport } = await load('@modelcontextprotocol/client/dist/stdio.mjs');

const flags = process.argv.slice(2);
const { argv, env } = JSON.parse(flags[flags.indexOf('--command') + 1]);
const client = new Client({ name: 'benchmark', version: '1' }, { versionNegotiation: { mode: 'auto' } });
await client.connect(new StdioClientTransport({ command: argv[0], args: argv.slice(1), env }));

console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
    const upto = Number(line.split(' ')[1]);
    const heard = [];
    const began = process.hrtime.bigint();
    await client.callTool({ name: 'count', arguments: { upto } }, { onprogress: ({ progress }) => heard.push(progress) });
    const seconds = Number(process.hrtime.bigint() - began) / 1e9;
    const inOrder = heard.every((number, index) => index === 0 || heard[index - 1] < number);
    console.log(JSON.stringify({ lost: upto - heard.length, in_order: inOrder, cpu_ns: 0, seconds }));
}
await client.close();
