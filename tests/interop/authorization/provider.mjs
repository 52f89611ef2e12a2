// An authorization server for every /mcp on this machine. It says on stderr where it listens.
// Its users are whoever gives a name; they log in and agree on the pages that it brings along.
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const resource = /^http:\/\/127\.0\.0\.1:\d+\/mcp$/;
const server = createServer((request, response) => provider.callback()(request, response));
let provider;

server.listen(0, "127.0.0.1", async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  provider = new Provider(issuer, {
    clients: [
      {
        client_id: "machine",
        client_secret: "the secret of the machine: 1 & 2",
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      },
    ],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 7), requireNonce: () => true },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo(context, asked) {
          if (!resource.test(asked)) throw new Error("nobody knows this resource");
          return { scope: "mcp mcp:write", accessTokenFormat: "jwt", accessTokenTTL: 600, jwt: { sign: { alg: "RS256" } } };
        },
      },
    },
    jwks: { keys: [await generated()] },
    clientBasedCORS: () => false,
    pkce: { required: () => true },
    scopes: ["openid", "offline_access", "mcp", "mcp:write"],
  });
  console.error(`listening on ${issuer}`);
});
process.on("SIGTERM", () => process.exit(0));

async function generated() {
  const algorithm = { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
  const { privateKey } = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const { kty, n, e, d, p, q, dp, dq, qi } = await crypto.subtle.exportKey("jwk", privateKey);
  return { kty, n, e, d, p, q, dp, dq, qi, kid: "tests", alg: "RS256", use: "sig" };
}
