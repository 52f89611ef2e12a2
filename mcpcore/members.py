"""Which revisions know which member of a payload, where that is not all of them (a table, and nothing else)."""

from typing import NamedTuple

from mcpcore.revisions import REVISIONS, Revision
from mcpcore.types.base import (
    Annotations,
    CacheableResult,
    Implementation,
    Model,
    Result,
)
from mcpcore.types.completion import CompleteRequestParams, PromptReference
from mcpcore.types.content import (
    AudioContent,
    EmbeddedResource,
    ImageContent,
    Resource,
    ResourceContents,
    TextContent,
)
from mcpcore.types.elicitation import ElicitRequestFormParams, ElicitRequestURLParams, ElicitResult
from mcpcore.types.input_required import InputResponseRequestParams
from mcpcore.types.lifecycle import (
    ClientCapabilities,
    ElicitationCapability,
    ProgressNotificationParams,
    RootsCapability,
    SamplingCapability,
    ServerCapabilities,
)
from mcpcore.types.prompts import Prompt, PromptArgument
from mcpcore.types.resources import ResourceTemplate
from mcpcore.types.roots import ListRootsResult, Root
from mcpcore.types.sampling import CreateMessageRequestParams, CreateMessageResult, SamplingMessage
from mcpcore.types.tools import CallToolRequestParams, CallToolResult, Tool

__all__ = ("MEMBERS", "RevisionRange")

_R24, _R25_03, _R25_06, _R25_11, _R26 = REVISIONS


class RevisionRange(NamedTuple):
    """The revisions that know some members; `first` None means that none does."""

    first: Revision | None
    last: Revision = _R26

    def includes(self, revision: Revision) -> bool:
        return self.first is not None and revision.at_least(self.first) and self.last.at_least(revision)


_SINCE_25_03 = RevisionRange(_R25_03)
_SINCE_25_06 = RevisionRange(_R25_06)
_SINCE_25_11 = RevisionRange(_R25_11)
_SINCE_26 = RevisionRange(_R26)
_ONLY_25_11 = RevisionRange(_R25_11, _R25_11)
_UNTIL_25_11 = RevisionRange(_R24, _R25_11)
_NEVER = RevisionRange(None)

_MEMBER_ROWS: tuple[tuple[RevisionRange, type[Model], str], ...] = (
    (_SINCE_25_03, ProgressNotificationParams, "message"),
    (_SINCE_25_03, ServerCapabilities, "completions"),
    (_SINCE_25_03, Tool, "annotations"),
    (_SINCE_25_06, Annotations, "last_modified"),
    (_SINCE_25_06, AudioContent, "meta"),
    (_SINCE_25_06, CallToolResult, "structured_content"),
    (_SINCE_25_06, ClientCapabilities, "elicitation"),
    (_SINCE_25_06, CompleteRequestParams, "context"),
    (_SINCE_25_06, EmbeddedResource, "meta"),
    (_SINCE_25_06, ImageContent, "meta"),
    (_SINCE_25_06, Implementation, "title"),
    (_SINCE_25_06, Prompt, "meta title"),
    (_SINCE_25_06, PromptArgument, "title"),
    (_SINCE_25_06, PromptReference, "title"),
    (_SINCE_25_06, Resource, "meta title"),
    (_SINCE_25_06, ResourceContents, "meta"),
    (_SINCE_25_06, ResourceTemplate, "meta title"),
    (_SINCE_25_06, Root, "meta"),
    (_SINCE_25_06, TextContent, "meta"),
    (_SINCE_25_06, Tool, "meta output_schema title"),
    (_SINCE_25_11, CreateMessageRequestParams, "tool_choice tools"),
    (_SINCE_25_11, ElicitRequestFormParams, "mode"),
    (_SINCE_25_11, ElicitationCapability, "form url"),
    (_SINCE_25_11, Implementation, "description icons website_url"),
    (_SINCE_25_11, Prompt, "icons"),
    (_SINCE_25_11, Resource, "icons"),
    (_SINCE_25_11, ResourceTemplate, "icons"),
    (_SINCE_25_11, SamplingCapability, "context tools"),
    (_SINCE_25_11, SamplingMessage, "meta"),
    (_SINCE_25_11, Tool, "icons"),
    (_ONLY_25_11, CallToolRequestParams, "task"),
    (_ONLY_25_11, ClientCapabilities, "tasks"),
    (_ONLY_25_11, CreateMessageRequestParams, "task"),
    (_ONLY_25_11, ElicitRequestFormParams, "task"),
    (_ONLY_25_11, ElicitRequestURLParams, "elicitation_id task"),
    (_ONLY_25_11, ServerCapabilities, "tasks"),
    (_ONLY_25_11, Tool, "execution"),
    # Questions and answers that 2026-07-28 embeds have no `_meta`; a sampling answer keeps its own.
    (_UNTIL_25_11, CreateMessageRequestParams, "meta"),
    (_UNTIL_25_11, ElicitRequestFormParams, "meta"),
    (_UNTIL_25_11, ElicitRequestURLParams, "meta"),
    (_UNTIL_25_11, ElicitResult, "meta"),
    (_UNTIL_25_11, ListRootsResult, "meta"),
    (_UNTIL_25_11, RootsCapability, "list_changed"),
    (_SINCE_26, CacheableResult, "cache_scope ttl_ms"),
    (_SINCE_26, InputResponseRequestParams, "input_responses request_state"),
    (_SINCE_26, Result, "result_type"),
    (_NEVER, CreateMessageResult, "result_type"),
    (_NEVER, ElicitResult, "result_type"),
    (_NEVER, ListRootsResult, "result_type"),
)

MEMBERS: dict[tuple[type[Model], str], RevisionRange] = {
    (kind, name): known for known, kind, names in _MEMBER_ROWS for name in names.split()
}
"""(class, attribute) -> the revisions that know it; also true for subclasses without an entry of their own."""
