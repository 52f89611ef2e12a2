import { connected } from './connected.mjs';

const refusal = promise => promise.then(() => null, error => error.code);

await connected(async client => {
    const told = await client.callTool({ name: 'refuse', arguments: {} });
    const crashed = await client.callTool({ name: 'crash', arguments: {} });
    return {
        told: [told.isError, told.content[0].text],
        crashed: [crashed.isError, crashed.content[0].text],
        tool: await refusal(client.callTool({ name: 'nope', arguments: {} })),
        prompt: await refusal(client.getPrompt({ name: 'nope' }))
    };
});
