import { connected } from './connected.mjs';

await connected(async client => {
    const asked = [];
    client.setRequestHandler('elicitation/create', async ({ params }) => {
        asked.push([params.message, params.requestedSchema.properties.name.type]);
        return { action: 'accept', content: { name: asked.length === 1 ? 'Paris' : 'Rome' } };
    });
    const result = await client.callTool({ name: 'ask', arguments: {} });
    return { asked, text: result.content[0].text };
});
