import { connected } from './connected.mjs';

const name = process.argv[2];

await connected(async client => {
    const abort = new AbortController();
    const hanging = client.callTool({ name: 'hang_as', arguments: { name } }, { signal: abort.signal }).then(
        () => 'answered',
        () => 'aborted'
    );
    await client.callTool({ name: 'await_event', arguments: { name: `hanging ${name}` } });
    abort.abort();
    const told = await client.callTool({ name: 'await_event', arguments: { name: `cancelled ${name}` } });
    return { call: await hanging, tool: told.structuredContent.result === `cancelled ${name}` };
});
