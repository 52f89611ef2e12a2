// Issues tokens to one program: JWTs for one resource, opaque ones for another, bound to a key where a proof is shown;
// and says to another program which of them are good. It says on stderr where it listens.
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const [, , signed, opaque] = process.argv;
const server = createServer((request, response) => provider.callback()(request, response));
let provider;

server.listen(0, "127.0.0.1", async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const quiet = { redirect_uris: [], response_types: [], id_token_signed_response_alg: "ES256" };
  provider = new Provider(issuer, {
    clients: [
      { ...quiet, client_id: "robot", client_secret: "the robot's: 1 & 2", grant_types: ["client_credentials"] },
      { ...quiet, client_id: "server", client_secret: "the server's: 3 + 4", grant_types: [] },
    ],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 7), requireNonce: () => false },
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo(context, asked) {
          if (asked !== signed && asked !== opaque) throw new Error("nobody knows this resource");
          const format = asked === signed ? { accessTokenFormat: "jwt", jwt: { sign: { alg: "ES256" } } } : {};
          return { scope: "mcp files:write", audience: asked, accessTokenTTL: 600, ...format };
        },
      },
    },
    jwks: { keys: [await generated()] },
    scopes: ["mcp", "files:write"],
  });
  console.error(`listening on ${issuer}`);
});
process.on("SIGTERM", () => process.exit(0));

async function generated() {
  const { privateKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const { kty, crv, x, y, d } = await crypto.subtle.exportKey("jwk", privateKey);
  return { kty, crv, x, y, d, kid: "tests", alg: "ES256", use: "sig" };
}
