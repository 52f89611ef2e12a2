"""What a peer of a given revision is sent: one model inside, five dialects on the wire.

`mcpcore.members` says which revisions know a member; everything else that changes between revisions is a named
function in `_TRANSFORMS`. Both are compiled into one plan for each class and revision at first use, and a class
with nothing to change costs a dictionary look-up. What needs no change is returned as it is. Reading is lenient
and needs none of this.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast, get_args, get_type_hints

import msgspec

from mcpcore import downgrade
from mcpcore.errors import LocalProtocolError
from mcpcore.members import MEMBERS
from mcpcore.revisions import REVISIONS, Era, Revision
from mcpcore.types.base import (
    CacheableResult,
    Meta,
    Model,
    NotificationParams,
    RequestParams,
    Result,
)
from mcpcore.types.content import (
    AudioContent,
    ResourceLink,
    TextContent,
    ToolResultContent,
    ToolUseContent,
)
from mcpcore.types.elicitation import ElicitRequestFormParams, ElicitRequestURLParams, ElicitResult
from mcpcore.types.input_required import InputRequest, InputRequiredResult, InputResponseRequestParams
from mcpcore.types.lifecycle import (
    ClientCapabilities,
    ServerCapabilities,
)
from mcpcore.types.meta import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_LOG_LEVEL,
    META_PROTOCOL_VERSION,
    META_RELATED_TASK,
    META_SERVER_INFO,
    META_SUBSCRIPTION_ID,
)
from mcpcore.types.roots import ListRootsResult
from mcpcore.types.sampling import CreateMessageRequestParams, CreateMessageResult, SamplingMessage
from mcpcore.types.shapes import ByShape
from mcpcore.types.tools import CallToolResult, Tool

__all__ = ("adapt", "complete")

T = TypeVar("T")

_R24, _R25_03, _R25_06, _R25_11, _R26 = REVISIONS


# Annotated so that a decoder leaves them raw; what is built locally holds structs.
_RAW_MEMBERS = {(InputRequest, "params"), (InputResponseRequestParams, "input_responses")}

_MODERN_META = frozenset(
    {
        META_CLIENT_CAPABILITIES,
        META_CLIENT_INFO,
        META_LOG_LEVEL,
        META_PROTOCOL_VERSION,
        META_SERVER_INFO,
        META_SUBSCRIPTION_ID,
    }
)
_TASK_META = frozenset({META_RELATED_TASK})
_ENVELOPES = (RequestParams, NotificationParams, Result)

_TASKS_EXTENSION = "io.modelcontextprotocol/tasks"


# Transformations. Each gets a value and the peer's revision and returns the same value when nothing changes.


def _as_text(block: Any, revision: Revision) -> TextContent:
    return TextContent(text=downgrade.text_of(block), annotations=getattr(block, "annotations", None))


def _structured_result(result: Any, revision: Revision) -> Any:
    """Up to 2025-11-25 structured content is an object, up to 2025-03-26 there is none; text always says it."""
    value = result.structured_content
    if value is msgspec.UNSET:
        return result
    content = result.content or [downgrade.json_text(value)]
    if not downgrade.is_json_object(value):
        value = {"result": value}
    elif content is result.content:
        return result
    return msgspec.structs.replace(result, content=content, structured_content=value)


def _tool_schemas(tool: Tool, revision: Revision) -> Tool:
    inputs = downgrade.boolean_properties_as_objects(tool.input_schema)
    outputs = tool.output_schema
    if outputs is not None:
        wrapped = downgrade.wrap_output_schema(outputs) if downgrade.wraps_output(outputs) else outputs
        outputs = downgrade.boolean_properties_as_objects(wrapped)
    if inputs is tool.input_schema and outputs is tool.output_schema:
        return tool
    return msgspec.structs.replace(tool, input_schema=inputs, output_schema=outputs)


def _single_blocks(params: CreateMessageRequestParams, revision: Revision) -> CreateMessageRequestParams:
    """A message of several blocks becomes several messages of the same role, so that images stay images."""
    if not any(isinstance(message.content, list) for message in params.messages):
        return params
    messages = [
        msgspec.structs.replace(message, content=block) for message in params.messages for block in message.blocks
    ]
    return msgspec.structs.replace(params, messages=messages)


def _single_block(answer: Any, revision: Revision) -> Any:
    if not isinstance(answer.content, list):
        return answer
    return msgspec.structs.replace(answer, content=downgrade.one_block(answer.content))


def _scalar_answers(answer: ElicitResult, revision: Revision) -> ElicitResult:
    """Before 2025-11-25 a form field holds one value: several become one text."""
    content = answer.content
    if content is None or not any(isinstance(value, list) for value in content.values()):
        return answer
    scalars = {name: ", ".join(value) if isinstance(value, list) else value for name, value in content.items()}
    return msgspec.structs.replace(answer, content=scalars)


def _plain_form(params: ElicitRequestFormParams, revision: Revision) -> ElicitRequestFormParams:
    schema = downgrade.form_of_2025_06_18(params.requested_schema)
    return params if schema is params.requested_schema else msgspec.structs.replace(params, requested_schema=schema)


def _with_elicitation_id(params: ElicitRequestURLParams, revision: Revision) -> ElicitRequestURLParams:
    """2025-11-25 demands an id. Whoever wants to announce the completion chooses it beforehand."""
    if params.elicitation_id is not None:
        return params
    return msgspec.structs.replace(params, elicitation_id=os.urandom(16).hex())


def _refuse_url(params: ElicitRequestURLParams, revision: Revision) -> ElicitRequestURLParams:
    raise LocalProtocolError(f"revision {revision} has no elicitation by URL: put the address into a tool error")


def _refuse_round_trip(result: InputRequiredResult, revision: Revision) -> InputRequiredResult:
    raise LocalProtocolError(f"revision {revision} has no input_required result: send the questions as requests")


def _form_capability(capabilities: ClientCapabilities, revision: Revision) -> ClientCapabilities:
    """Before 2025-11-25 the capability means forms: a client that only opens pages has none to declare."""
    modes = capabilities.elicitation
    if modes is None or modes.url is None or modes.form is not None:
        return capabilities
    return msgspec.structs.replace(capabilities, elicitation=None)


def _legacy_extensions(capabilities: Any, revision: Revision) -> Any:
    """The tasks extension is not defined in the handshake era; others may be."""
    extensions = capabilities.extensions
    if extensions is None or _TASKS_EXTENSION not in extensions:
        return capabilities
    kept = {name: settings for name, settings in extensions.items() if name != _TASKS_EXTENSION}
    return msgspec.structs.replace(capabilities, extensions=kept or None)


_Transform = Callable[[Any, Revision], Any]

# (class, first revision, last revision, what to do); the rows of a class apply in order.
_TRANSFORMS: tuple[tuple[type[Model], Revision, Revision, _Transform], ...] = (
    (AudioContent, _R24, _R24, _as_text),
    (ResourceLink, _R24, _R25_03, _as_text),
    (ToolUseContent, _R24, _R25_06, _as_text),
    (ToolResultContent, _R24, _R25_06, _as_text),
    (ToolResultContent, _R25_11, _R25_11, _structured_result),
    (CallToolResult, _R24, _R25_11, _structured_result),
    (Tool, _R24, _R25_11, _tool_schemas),
    (CreateMessageRequestParams, _R24, _R25_06, _single_blocks),
    (CreateMessageResult, _R24, _R25_06, _single_block),
    (SamplingMessage, _R24, _R25_06, _single_block),
    (ElicitResult, _R24, _R25_06, _scalar_answers),
    (ElicitRequestFormParams, _R24, _R25_06, _plain_form),
    (ElicitRequestURLParams, _R24, _R25_06, _refuse_url),
    (ElicitRequestURLParams, _R25_11, _R25_11, _with_elicitation_id),
    (InputRequiredResult, _R24, _R25_11, _refuse_round_trip),
    (ClientCapabilities, _R24, _R25_06, _form_capability),
    (ClientCapabilities, _R24, _R25_11, _legacy_extensions),
    (ServerCapabilities, _R24, _R25_11, _legacy_extensions),
)


class _Plan:
    """What to do with one class for one revision."""

    __slots__ = ("drops", "kind", "meta_keys", "nested", "revision", "transforms")

    def __init__(self, kind: type[Model], revision: Revision) -> None:
        self.kind: type[Any] = kind
        self.revision = revision
        self.transforms = tuple(
            transform
            for owner, first, last, transform in _TRANSFORMS
            if issubclass(kind, owner) and revision.at_least(first) and last.at_least(revision)
        )
        self.drops = tuple(_unknown_members(kind, revision))
        dropped = {name for name, _ in self.drops}
        # The `_meta` of requests, notifications and results has members that come and go; elsewhere it is the user's.
        self.meta_keys: frozenset[str] = frozenset()
        if issubclass(kind, _ENVELOPES) and "meta" not in dropped:
            self.meta_keys = (_MODERN_META if revision.era is Era.LEGACY else frozenset()) | (
                _TASK_META if revision is not _R25_11 else frozenset()
            )
        self.nested = tuple(
            name for name, owners in _nested_members(kind) if name not in dropped and _any_plan(owners, revision)
        )

    @property
    def is_empty(self) -> bool:
        return not (self.transforms or self.drops or self.meta_keys or self.nested)

    def apply(self, value: Any) -> Any:
        for transform in self.transforms:
            value = transform(value, self.revision)
            if type(value) is not self.kind:
                return adapt(value, self.revision)
        changes: dict[str, Any] = {}
        for name, default in self.drops:
            if getattr(value, name) is not default:
                changes[name] = default
        for name in self.nested:
            member = getattr(value, name)
            if member is not None:
                adapted = _adapt_member(member, self.revision)
                if adapted is not member:
                    changes[name] = adapted
        if self.meta_keys and value.meta is not None:
            meta = _without_keys(value.meta, self.meta_keys, keep_empty=self.revision.era is Era.MODERN)
            if meta is not value.meta:
                changes["meta"] = meta
        return msgspec.structs.replace(value, **changes) if changes else value


def _unknown_members(kind: type[Model], revision: Revision) -> Iterator[tuple[str, Any]]:
    """The attributes of this class that the revision does not know, with what stands for their absence."""
    defaults = kind.__struct_defaults__
    names = kind.__struct_fields__
    for name, default in zip(names[len(names) - len(defaults) :], defaults, strict=True):
        known = next((MEMBERS[owner, name] for owner in kind.__mro__ if (owner, name) in MEMBERS), None)
        if known is not None and not known.includes(revision):
            yield name, default


def _nested_members(kind: type[Model]) -> Iterator[tuple[str, set[type[Model]] | None]]:
    """The attributes that hold payload structs, and of which classes; None for any class."""
    for name, annotation in get_type_hints(kind).items():
        if name not in kind.__struct_fields__:
            continue
        if any((owner, name) in _RAW_MEMBERS for owner in kind.__mro__):
            yield name, None
        elif owners := set(_structs_in(annotation)):
            yield name, owners


def _structs_in(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type):
        if issubclass(annotation, Model):  # First, since members of a union by shape count as its subclasses.
            yield annotation
        elif issubclass(annotation, ByShape):
            yield from annotation.structs
    for argument in get_args(annotation):
        yield from _structs_in(argument)


def _any_plan(owners: set[type[Model]] | None, revision: Revision) -> bool:
    return owners is None or any(_plan_for(owner, revision) is not None for owner in owners)


def _without_keys(meta: Meta, keys: frozenset[str], *, keep_empty: bool) -> Meta | None:
    if keys.isdisjoint(meta):
        return meta if meta or keep_empty else None
    return {key: value for key, value in meta.items() if key not in keys} or None


def _adapt_member(member: Any, revision: Revision) -> Any:
    if isinstance(member, list):
        adapted = [adapt(item, revision) for item in member]
        for new, old in zip(adapted, member, strict=True):
            if new is not old:
                return adapted
        return member
    if isinstance(member, dict):
        changed = {key: adapt(item, revision) for key, item in member.items()}
        return member if all(changed[key] is item for key, item in member.items()) else changed
    return adapt(member, revision)


_PLANS: dict[Revision, dict[type, _Plan | None]] = {revision: {} for revision in REVISIONS}


def _plan_for(kind: type, revision: Revision) -> _Plan | None:
    plans = _PLANS[revision]
    if kind not in plans:
        plan = _Plan(kind, revision) if issubclass(kind, Model) else None
        plans[kind] = None if plan is None or plan.is_empty else plan
    return plans[kind]


def adapt(value: T, revision: Revision) -> T:
    """This payload as a peer of that revision knows it; the same object when nothing changes.

    Members that the revision does not know are left out, content it cannot carry becomes text, and values it
    shapes differently are reshaped. A nested block may come back as another class; params and results do not.
    Raises LocalProtocolError for what the revision has no form for: elicitation by URL or with several choices,
    an `InputRequiredResult`. Only payload structs are changed, anything else comes back as it is.
    """
    try:
        plan = _PLANS[revision][type(value)]
    except KeyError:
        plan = _plan_for(type(value), revision)
    return value if plan is None else cast("T", plan.apply(value))


def complete(
    result: T,
    revision: Revision,
    *,
    server_info: dict[str, Any] | None = None,
    output_schema: dict[str, Any] | None = None,
) -> T:
    """A server's result, ready for the wire of that revision.

    Modern: `resultType` is "complete" unless it is set, a cacheable result gets ttl 0 and scope "private" where
    the handler is silent, and `server_info` goes into `_meta` unless it is there. Legacy: `adapt` does it all.
    `output_schema` is the schema of the tool that was called, as it declared it: with a schema that older
    revisions see wrapped as `{"result": ...}`, the value has to be wrapped too, even when it is an object.
    """
    if not isinstance(result, Result):
        return result
    if not revision.is_modern:
        if (
            output_schema is not None
            and isinstance(result, CallToolResult)
            and result.structured_content is not msgspec.UNSET
            and downgrade.wraps_output(output_schema)
        ):
            content = result.content or [downgrade.json_text(result.structured_content)]
            wrapped = {"result": result.structured_content}
            result = msgspec.structs.replace(result, content=content, structured_content=wrapped)
        return adapt(result, revision)
    result = adapt(result, revision)
    changes: dict[str, Any] = {}
    if result.result_type is None and not isinstance(result, _EMBEDDED_RESULTS):
        changes["result_type"] = "complete"
    if isinstance(result, CacheableResult):
        if result.ttl_ms is None:
            changes["ttl_ms"] = 0
        if result.cache_scope is None:
            changes["cache_scope"] = "private"
    if server_info is not None and not isinstance(result, _EMBEDDED_RESULTS):
        meta = result.meta
        if meta is None:
            changes["meta"] = {META_SERVER_INFO: server_info}
        elif META_SERVER_INFO not in meta:
            changes["meta"] = {**meta, META_SERVER_INFO: server_info}
    return msgspec.structs.replace(result, **changes) if changes else result


# Answers of a client, which 2026-07-28 embeds bare.
_EMBEDDED_RESULTS = (CreateMessageResult, ElicitResult, ListRootsResult)
