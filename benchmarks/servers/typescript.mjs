// The official TypeScript SDK's server over stdio. The modules are found in the folder that MCP_NODE_MODULES names.

import { writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const place = process.env.MCP_NODE_MODULES;
const load = (path) => import(pathToFileURL(`${place}/${path}`));
const { McpServer } = await load('@modelcontextprotocol/server/dist/index.mjs');
const { serveStdio } = await load('@modelcontextprotocol/server/dist/stdio.mjs');
const { z } = await load('zod/index.js');

const said = process.env.BENCHMARK_REPORT_FD;
const say = () => said && writeSync(Number(said), `${process.hrtime.bigint()}\n`);
const text = (found) => ({ content: [{ type: 'text', text: String(found) }], structuredContent: { result: found } });

function build() {
    const server = new McpServer({ name: 'benchmark', version: '1' }, { capabilities: { tools: {} } });
    server.registerTool(
        'echo',
        { inputSchema: z.object({ text: z.string() }), outputSchema: z.object({ result: z.string() }) },
        async (given) => text(given.text)
    );
    server.registerTool('count', { inputSchema: z.object({ upto: z.number() }) }, async ({ upto }, ctx) => {
        const progressToken = ctx.mcpReq._meta?.progressToken;
        for (let progress = 1; progress <= upto; progress++)
            await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: upto } });
        return text(upto);
    });
    server.registerTool('hang_quietly', { inputSchema: z.object({}) }, async (_, ctx) => {
        say();
        await new Promise((resolve) => ctx.mcpReq.signal.addEventListener('abort', resolve));
        say();
        return text('cancelled');
    });
    return server;
}

serveStdio(build);
