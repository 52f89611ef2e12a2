import { connected } from './connected.mjs';

await connected(async client => ({
    server: client.getServerVersion(),
    instructions: client.getInstructions(),
    tools: (await client.listTools()).tools.map(tool => tool.name),
    resources: (await client.listResources()).resources.map(resource => resource.uri),
    config: (await client.readResource({ uri: 'config://app' })).contents[0].text,
    prompt: (await client.getPrompt({ name: 'greet', arguments: { who: 'Bo' } })).messages[0].content.text
}));
