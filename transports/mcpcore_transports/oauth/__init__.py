"""Logging in to protected servers: what `Client(url, auth=…)` takes (MCP, authorization).

auth="TOKEN"               a token that is there already
auth=OAuth()               a user with a browser
auth=ClientCredentials(…)  a program for itself
auth=WorkloadIdentity(…)   a program whose platform vouches for it
auth=EnterpriseManaged(…)  a user whom the enterprise has logged in
auth=your own              an `Authorization`
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcpcore_transports.http.authorized import Authorization as Authorization
    from mcpcore_transports.http.authorized import Call as Call
    from mcpcore_transports.http.authorized import Refusal as Refusal
    from mcpcore_transports.oauth.access import TokenAuthorization as TokenAuthorization
    from mcpcore_transports.oauth.assertions import PrivateKey as PrivateKey
    from mcpcore_transports.oauth.bearer import Bearer as Bearer
    from mcpcore_transports.oauth.errors import AccessRefused as AccessRefused
    from mcpcore_transports.oauth.errors import AuthorizationRefused as AuthorizationRefused
    from mcpcore_transports.oauth.errors import DiscoveryFailed as DiscoveryFailed
    from mcpcore_transports.oauth.errors import LibraryMissing as LibraryMissing
    from mcpcore_transports.oauth.errors import LoginFailed as LoginFailed
    from mcpcore_transports.oauth.errors import LoginTimeout as LoginTimeout
    from mcpcore_transports.oauth.errors import RegistrationFailed as RegistrationFailed
    from mcpcore_transports.oauth.errors import ResponseMismatch as ResponseMismatch
    from mcpcore_transports.oauth.errors import StorageFailed as StorageFailed
    from mcpcore_transports.oauth.errors import TokenRefused as TokenRefused
    from mcpcore_transports.oauth.errors import UntrustedMetadata as UntrustedMetadata
    from mcpcore_transports.oauth.login import OAuth as OAuth
    from mcpcore_transports.oauth.login import open_in_browser as open_in_browser
    from mcpcore_transports.oauth.machine import ClientCredentials as ClientCredentials
    from mcpcore_transports.oauth.machine import EnterpriseManaged as EnterpriseManaged
    from mcpcore_transports.oauth.machine import WorkloadIdentity as WorkloadIdentity
    from mcpcore_transports.oauth.registration import client_document as client_document
    from mcpcore_transports.oauth.storage import FileStorage as FileStorage
    from mcpcore_transports.oauth.storage import MemoryStorage as MemoryStorage
    from mcpcore_transports.oauth.storage import Storage as Storage

__all__ = (
    "AccessRefused",
    "Authorization",
    "AuthorizationRefused",
    "Bearer",
    "Call",
    "ClientCredentials",
    "DiscoveryFailed",
    "EnterpriseManaged",
    "FileStorage",
    "LibraryMissing",
    "LoginFailed",
    "LoginTimeout",
    "MemoryStorage",
    "OAuth",
    "PrivateKey",
    "Refusal",
    "RegistrationFailed",
    "ResponseMismatch",
    "Storage",
    "StorageFailed",
    "TokenAuthorization",
    "TokenRefused",
    "UntrustedMetadata",
    "WorkloadIdentity",
    "client_document",
    "open_in_browser",
)

_HOME = {
    "AccessRefused": "oauth.errors",
    "Authorization": "http.authorized",
    "AuthorizationRefused": "oauth.errors",
    "Bearer": "oauth.bearer",
    "Call": "http.authorized",
    "ClientCredentials": "oauth.machine",
    "DiscoveryFailed": "oauth.errors",
    "EnterpriseManaged": "oauth.machine",
    "FileStorage": "oauth.storage",
    "LibraryMissing": "oauth.errors",
    "LoginFailed": "oauth.errors",
    "LoginTimeout": "oauth.errors",
    "MemoryStorage": "oauth.storage",
    "OAuth": "oauth.login",
    "PrivateKey": "oauth.assertions",
    "Refusal": "http.authorized",
    "RegistrationFailed": "oauth.errors",
    "ResponseMismatch": "oauth.errors",
    "Storage": "oauth.storage",
    "StorageFailed": "oauth.errors",
    "TokenAuthorization": "oauth.access",
    "TokenRefused": "oauth.errors",
    "UntrustedMetadata": "oauth.errors",
    "WorkloadIdentity": "oauth.machine",
    "client_document": "oauth.registration",
    "open_in_browser": "oauth.login",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"mcpcore_transports.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mcpcore_transports.oauth' has no attribute {name!r}")
