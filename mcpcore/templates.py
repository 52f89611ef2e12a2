"""URI templates (RFC 6570): expanding them, all four levels, and for servers the way back from a URI to values.

RFC 6570 defines no way back (section 1.4). The rules here:

- Each variable takes the shortest text with which the rest of the template can still match, decided from left
  to right. `{+dir}/{name}` on `a/b/c` gives dir `a/b`, because a simple variable cannot hold a slash;
  `{+a}/{+b}` gives `a` and `b/c`.
- `{a}`, `{.a}` and `{/a}` hold no reserved character (RFC 3986, 2.2) unless it is percent-encoded; `{+a}` and
  `{#a}` hold anything; a value of `{?a}` and `{&a}` ends at `&` or `#`, one of `{;a}` at `;`, `/`, `?` or `#`.
- `{a}` and `{+a}` take at least one character. An expression whose first character shows that it is there
  (`{/a}`, `{?a}` ...) may be missing, which leaves its variables out of the answer, and may hold an empty value.
- Of several variables in one expression the last ones may be missing; named ones (`{;a,b}`, `{?a,b}`,
  `{&a,b}`) come in any order. A name that the expression does not list is no match.
- `{a*}` gives the items as one text, joined as they were in the URI; repeated `{?a*}` items are joined by commas.
- Values are percent-decoded once, after the split, as UTF-8. Bytes that are not UTF-8 are no match.

Matching takes time proportional to the length of the URI: tables are filled from its end to its start, one pass
per variable, and nothing is tried twice (CVE-2026-0621 was a regular expression that did).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, unquote

from mcpcore.errors import LocalProtocolError, SchemaError

__all__ = ("MAX_DECODINGS", "MAX_URI_LENGTH", "TemplateValue", "UriTemplate", "has_traversal")

MAX_URI_LENGTH = 8192
"""Characters of a URI that is matched at all: what common HTTP servers accept as a request line. It bounds the
time that one match can keep the event loop busy."""

MAX_DECODINGS = 3
"""Times `has_traversal` decodes a value. Encoding more often than this has no honest use."""

TemplateValue: TypeAlias = str | list[str] | dict[str, str]

_RESERVED = ":/?#[]@!$&'()*+,;="
_BAD_LITERAL = re.compile(r"""[\x00-\x20"<>\\^`|}\x7f-\x9f\ud800-\udfff]|%(?![0-9A-Fa-f]{2})""")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TRIPLET = re.compile(r"%[0-9A-Fa-f]{2}")
_NAME_CHARACTER = r"(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})"
_VARIABLE = re.compile(rf"({_NAME_CHARACTER}(?:\.?{_NAME_CHARACTER})*)(?::([1-9][0-9]{{0,3}})|(\*))?")
_DRIVE = re.compile(r"[A-Za-z]:")


class _Operator(NamedTuple):
    """One column of the table in RFC 6570, appendix A, and what ends a value on the way back."""

    first: str
    separator: str
    stops: str
    named: bool = False
    empty: str = ""
    reserved: bool = False


_OPERATORS = {
    "": _Operator("", ",", _RESERVED),
    "+": _Operator("", ",", "", reserved=True),
    "#": _Operator("#", ",", "", reserved=True),
    ".": _Operator(".", ".", _RESERVED),
    "/": _Operator("/", "/", _RESERVED),
    ";": _Operator(";", ";", ";/?#", named=True),
    "?": _Operator("?", "&", "&#", named=True, empty="="),
    "&": _Operator("&", "&", "&#", named=True, empty="="),
}


class _Variable(NamedTuple):
    name: str
    prefix: int  # characters; 0 means all of them
    explode: bool


class _Found(NamedTuple):
    variable: _Variable
    text: str  # as in the URI, still encoded


def _encode(text: str, reserved: bool) -> str:
    if not reserved:
        return quote(text, safe="")
    return _STRAY_PERCENT.sub("%25", quote(text, safe=_RESERVED + "%"))


def _steps(uri: str, stops: str) -> bytearray:
    """Per position: how many characters the value character there takes (3 for `%41`), 0 if a value ends there."""
    steps = bytearray(0 if character in stops or character == "%" else 1 for character in uri)
    for triplet in _TRIPLET.finditer(uri):
        steps[triplet.start()] = 3
    steps.append(0)
    return steps


def _mark(uri: str, text: str, after: bytearray, marks: bytearray) -> bytearray:
    """Set `marks` wherever `text` stands in the URI and what follows it is set in `after`."""
    at = uri.find(text)
    while at >= 0:
        if after[at + len(text)]:
            marks[at] = 1
        at = uri.find(text, at + 1)
    return marks


@dataclass(frozen=True, slots=True)
class _Literal:
    text: str  # encoded

    def expand(self, values: Mapping[str, TemplateValue]) -> str:
        return self.text

    def plan(self, uri: str, after: bytearray) -> "_Plan":
        return _Plan(_mark(uri, self.text, after, bytearray(len(uri) + 1)))

    def walk(self, uri: str, at: int, plan: "_Plan", found: list[_Found]) -> int:
        return at + len(self.text)


class _Run(NamedTuple):
    """Where one variable, or one item of a named expression, may begin, go on and end in the URI."""

    begins: bytearray
    inside: bytearray
    ends: bytearray
    steps: bytearray


class _Plan(NamedTuple):
    entry: bytearray
    """Per position, whether the rest of the URI matches this part and all that follow it in the template."""
    runs: tuple[_Run, ...] = ()


@dataclass(frozen=True, slots=True)
class _Expression:
    operator: _Operator
    variables: tuple[_Variable, ...]

    def expand(self, values: Mapping[str, TemplateValue]) -> str:
        items = [item for variable in self.variables for item in self._items(variable, values.get(variable.name))]
        return self.operator.first + self.operator.separator.join(items) if items else ""

    def _items(self, variable: _Variable, value: TemplateValue | None) -> Iterator[str]:
        """The texts that the separator goes between. None, [] and {} are undefined values and give nothing."""
        name, reserved = variable.name, self.operator.reserved
        if isinstance(value, str):
            yield self._named(name, _encode(value[: variable.prefix or None], reserved))
        elif isinstance(value, list | dict):
            if variable.prefix:
                raise LocalProtocolError(f"{{{name}:{variable.prefix}}} takes a text, and {name!r} is a list or dict")
            if isinstance(value, list):
                texts = [_encode(item, reserved) for item in value]
                if variable.explode:
                    yield from (self._named(name, text) for text in texts)
                elif texts:
                    yield self._named(name, ",".join(texts))
                return
            # Keys are encoded like values. As literals (appendix A) an `&` in a key would begin one more parameter.
            pairs = [(_encode(key, reserved), _encode(item, reserved)) for key, item in value.items()]
            if variable.explode:
                yield from (self._named(key, item) if self.operator.named else f"{key}={item}" for key, item in pairs)
            elif pairs:
                yield self._named(name, ",".join(f"{key},{item}" for key, item in pairs))
        elif value is not None:
            raise LocalProtocolError(f"template variable {name!r} is a {type(value).__name__}: use str, list or dict")

    def _named(self, name: str, text: str) -> str:
        if not self.operator.named:
            return text
        return f"{name}={text}" if text else f"{name}{self.operator.empty}"

    def plan(self, uri: str, after: bytearray) -> _Plan:
        runs = (self._plan_named(uri, after),) if self.operator.named else self._plan_positional(uri, after)
        if not self.operator.first:
            return _Plan(runs[0].begins, runs)
        return _Plan(_mark(uri, self.operator.first, runs[0].begins, bytearray(after)), runs)

    def _plan_positional(self, uri: str, after: bytearray) -> tuple[_Run, ...]:
        operator = self.operator
        runs: list[_Run] = []
        for variable in reversed(self.variables):
            stops = operator.stops.replace(operator.separator, "") if variable.explode else operator.stops
            steps = _steps(uri, stops)
            ends = _mark(uri, operator.separator, runs[-1].begins, bytearray(after)) if runs else after
            inside = bytearray(ends)
            begins = bytearray(inside) if operator.first else bytearray(len(inside))
            for at in range(len(uri) - 1, -1, -1):
                step = steps[at]
                if step and inside[at + step]:
                    inside[at] = begins[at] = 1
            runs.append(_Run(begins, inside, ends, steps))
        return tuple(reversed(runs))

    def _plan_named(self, uri: str, after: bytearray) -> _Run:
        operator, size = self.operator, len(uri)
        run = _Run(bytearray(size + 1), bytearray(size + 1), bytearray(after), _steps(uri, operator.stops))
        for at in range(size, -1, -1):
            if at < size and uri[at] == operator.separator and run.begins[at + 1]:
                run.ends[at] = 1
            step = run.steps[at]
            if run.ends[at] or (step and run.inside[at + step]):
                run.inside[at] = 1
            # Asking for names only where an item can begin keeps the number of questions small.
            if at and uri[at - 1] in (operator.first, operator.separator) and self._name_at(uri, at, run):
                run.begins[at] = 1
        return run

    def _name_at(self, uri: str, at: int, run: _Run) -> tuple[_Variable, int] | None:
        """The variable whose name stands here with a value, or a possible end, behind it; and where the value is."""
        for variable in self.variables:
            end = at + len(variable.name)
            if uri.startswith(variable.name, at):
                if uri.startswith("=", end) and run.inside[end + 1]:
                    return variable, end + 1
                if run.ends[end]:
                    return variable, end
        return None

    def walk(self, uri: str, at: int, plan: _Plan, found: list[_Found]) -> int:
        """Read the values from `at` on, where `plan.entry` is set; returns where the expression ends."""
        operator, (run, *others) = self.operator, plan.runs
        if operator.first:
            if not (uri.startswith(operator.first, at) and run.begins[at + 1]):
                return at
            at += 1
        if operator.named:
            at = self._walk_item(uri, at, run, found)
            while uri.startswith(operator.separator, at) and run.begins[at + 1]:
                at = self._walk_item(uri, at + 1, run, found)
            return at
        for index, variable in enumerate(self.variables):
            start = at
            if not operator.first:
                at += run.steps[at]
            while not run.ends[at]:
                at += run.steps[at]
            found.append(_Found(variable, uri[start:at]))
            if index == len(others):
                break
            run = others[index]
            if not (uri.startswith(operator.separator, at) and run.begins[at + 1]):
                break
            at += 1
        return at

    def _walk_item(self, uri: str, at: int, run: _Run, found: list[_Found]) -> int:
        item = self._name_at(uri, at, run)
        assert item is not None  # run.begins says so
        variable, start = item
        at = start
        while not run.ends[at]:
            at += run.steps[at]
        found.append(_Found(variable, uri[start:at]))
        return at


_Part: TypeAlias = _Literal | _Expression


def _parse(text: str) -> Iterator[_Part]:
    at = 0
    while at < len(text):
        opening = text.find("{", at)
        end = len(text) if opening < 0 else opening
        if bad := _BAD_LITERAL.search(text, at, end):
            raise _error(text, bad.start(), f"{bad[0]!r} must be percent-encoded")
        if end > at:
            yield _Literal(_encode(text[at:end], reserved=True))
        if opening < 0:
            return
        closing = text.find("}", opening)
        if closing < 0:
            raise _error(text, opening, "this { is never closed")
        yield _parse_expression(text, opening + 1, closing)
        at = closing + 1


def _parse_expression(text: str, start: int, end: int) -> _Expression:
    sign = text[start]
    if sign in "=,!@|":
        raise _error(text, start, f"the operator {sign!r} is reserved and has no meaning yet")
    operator = _OPERATORS.get(sign)
    at = start if operator is None else start + 1
    variables = []
    for specification in text[at:end].split(","):
        parsed = _VARIABLE.fullmatch(specification)
        if parsed is None:
            raise _error(text, at, f"{specification!r} is not a variable name, or one followed by :1 to :9999 or *")
        variables.append(_Variable(parsed[1], int(parsed[2] or 0), parsed[3] is not None))
        at += len(specification) + 1
    return _Expression(operator or _OPERATORS[""], tuple(variables))


def _error(text: str, at: int, reason: str) -> SchemaError:
    return SchemaError(f"URI template {text!r}, character {at + 1}: {reason}")


class UriTemplate:
    """A parsed template. Raises `SchemaError`, which says where, if RFC 6570 does not allow the text."""

    __slots__ = ("_parts", "text", "variables")

    def __init__(self, text: str) -> None:
        self.text: str = text
        self._parts: tuple[_Part, ...] = tuple(_parse(text))
        names = [v.name for part in self._parts if isinstance(part, _Expression) for v in part.variables]
        self.variables: tuple[str, ...] = tuple(dict.fromkeys(names))
        """The names, each once, in the order of the template."""

    def __repr__(self) -> str:
        return f"UriTemplate({self.text!r})"

    def expand(self, values: Mapping[str, TemplateValue]) -> str:
        """The URI for these values. Missing names, `[]` and `{}` are undefined values and leave nothing behind.

        Raises `LocalProtocolError` for another kind of value, for a list or dict where the template asks for the
        first characters of a text (`{a:3}`), and for a text that has no UTF-8 form.
        """
        try:
            return "".join(part.expand(values) for part in self._parts)
        except UnicodeEncodeError as error:
            raise LocalProtocolError(f"a value for {self.text!r} holds half a surrogate pair, not text") from error

    def match(self, uri: str) -> dict[str, str] | None:
        """The values that make the template this URI, or None if it is not one of its URIs.

        The rules are at the top of this module. Literal text is compared as it is, without normalising either side.
        None too for a URI of more than `MAX_URI_LENGTH` characters.
        """
        if len(uri) > MAX_URI_LENGTH:
            return None
        # Most URIs asked for belong to other templates, and differ at once.
        if self._parts and isinstance(head := self._parts[0], _Literal) and not uri.startswith(head.text):
            return None
        after = bytearray(len(uri) + 1)
        after[len(uri)] = 1
        plans: list[_Plan] = []
        for part in reversed(self._parts):
            plan = part.plan(uri, after)
            plans.append(plan)
            after = plan.entry
        if not after[0]:
            return None
        found: list[_Found] = []
        at = 0
        for part, plan in zip(self._parts, reversed(plans), strict=True):
            at = part.walk(uri, at, plan, found)
        return _values(found)


def _values(found: list[_Found]) -> dict[str, str] | None:
    """Decode, and refuse one name with two values."""
    values: dict[str, list[str]] = {}
    # Whole values first: what stands for the beginning of one (`{a:1}/{a}`) is then compared with it.
    for variable, encoded in sorted(found, key=lambda item: -(item.variable.prefix or MAX_URI_LENGTH + 1)):
        try:
            value = unquote(encoded, errors="strict")
        except UnicodeDecodeError:
            return None
        name, prefix = variable.name, variable.prefix
        if prefix and len(value) > prefix:
            return None
        if name not in values:
            values[name] = [value]
        elif variable.explode:
            values[name].append(value)
        elif values[name][0][: prefix or None] != value:
            return None
    return {name: ",".join(items) for name, items in values.items()}


def has_traversal(value: str) -> bool:
    """Whether a template value could lead out of a folder that a handler joins it to.

    True for a `..` segment (with the trailing dots and spaces that Windows drops), a backslash, a NUL, and a path
    that is absolute or begins with a drive letter; and for all of that behind further percent-encoding, because a
    handler or the file system's owner may decode once more. Links inside the folder are not looked at: whoever
    opens the file resolves them.
    """
    for _ in range(MAX_DECODINGS + 1):
        if "\\" in value or "\0" in value or value.startswith("/") or _DRIVE.match(value):
            return True
        if any(segment.count(".") > 1 and not segment.strip(" .") for segment in value.split("/")):
            return True
        decoded = unquote(value)
        if decoded == value:
            return False
        value = decoded
    return True
