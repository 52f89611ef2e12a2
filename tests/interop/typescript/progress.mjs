import { connected } from './connected.mjs';

// Each report is awaited before the tool goes on: this client drops reports that it reads together with the result.
const name = process.argv[2];

await connected(async client => {
    const seen = [];
    const released = [];
    const onprogress = ({ progress, total, message }) => {
        seen.push([progress, total, message]);
        released.push(client.callTool({ name: 'release', arguments: { name, step: progress } }));
    };
    const result = await client.callTool({ name: 'hold', arguments: { name, steps: 5 } }, { onprogress });
    await Promise.all(released);
    return { seen, structured: result.structuredContent };
});
