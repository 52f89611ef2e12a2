"""A protected server of the official SDK with the SDK's own authorization server in it; says its port on stdout.

Its users agree to everything; tokens are good until they have been used for three requests, and are then refreshed.
"""

import secrets
import socket
import time

import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

USES = 3


class Provider(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    def __init__(self) -> None:
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.tokens: dict[str, AccessToken] = {}
        self.refreshers: dict[str, RefreshToken] = {}
        self.uses: dict[str, int] = {}

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        assert client_info.client_id is not None
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        assert client.client_id is not None
        code = secrets.token_hex(20)
        self.codes[code] = AuthorizationCode(
            code=code,
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self.issue(authorization_code.client_id, authorization_code.scopes, authorization_code.resource)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        return self.refreshers.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        del self.refreshers[refresh_token.token]
        return self.issue(refresh_token.client_id, scopes, refresh_token.resource)

    async def load_access_token(self, token: str) -> AccessToken | None:
        self.uses[token] = self.uses.get(token, 0) + 1
        return self.tokens.get(token) if self.uses[token] <= USES else None

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.tokens.pop(token.token, None)

    def issue(self, client_id: str, scopes: list[str], resource: str | None) -> OAuthToken:
        token, refresher = secrets.token_hex(20), secrets.token_hex(20)
        self.tokens[token] = AccessToken(token=token, client_id=client_id, scopes=scopes, resource=resource)
        self.refreshers[refresher] = RefreshToken(
            token=refresher, client_id=client_id, scopes=scopes, resource=resource
        )
        return OAuthToken(access_token=token, expires_in=600, scope=" ".join(scopes), refresh_token=refresher)


if __name__ == "__main__":
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        port = listener.getsockname()[1]
        origin = f"http://127.0.0.1:{port}"
        provider = Provider()
        server = MCPServer(
            "protected",
            auth_server_provider=provider,
            auth=AuthSettings(
                issuer_url=origin,  # type: ignore[arg-type]
                resource_server_url=f"{origin}/mcp",  # type: ignore[arg-type]
                validate_token_resource=True,
                required_scopes=["mcp"],
                client_registration_options=ClientRegistrationOptions(enabled=True, valid_scopes=["mcp"]),
            ),
        )

        @server.tool()
        def logins() -> list[int]:
            """How many clients, and how many tokens there are."""
            return [len(provider.clients), len(provider.tokens)]

        print(port, flush=True)
        config = uvicorn.Config(server.streamable_http_app(), log_level="error", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])
