"""Questions of a server to the user, asked on a terminal field by field; declined where there is none."""

import sys
from collections.abc import Mapping
from typing import Any

import anyio

from mcpcore.cli.progress import Reports
from mcpcore.cli.render import visible
from mcpcore.forms import InvalidForm, check_form
from mcpcore.types import ElicitRequestFormParams, ElicitRequestURLParams, ElicitResult

__all__ = ("Questions",)

_YES_NO = {"y": True, "yes": True, "n": False, "no": False}


class _Declined(Exception):
    """The user left a required field empty."""


class _Closed(Exception):
    """The user ended the input (Ctrl+D)."""


class Questions:
    """`form` and `url` are `on_elicit` and `on_elicit_url` of a client. There is no deadline: the user is in front of
    it and can press Ctrl+C."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._one_at_a_time = anyio.Lock()
        self._terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    async def form(self, params: ElicitRequestFormParams) -> ElicitResult:
        """Ask for each field. Enter takes the default, skips an optional field, and declines at any other one."""
        if not self._terminal:
            return self._nobody(params.message)
        properties: Mapping[str, Any] = params.requested_schema.get("properties") or {}
        required = params.requested_schema.get("required") or []
        async with self._one_at_a_time:
            self._say(params.message)
            try:
                if not properties:
                    return ElicitResult(action="accept" if await self._yes("answer") else "decline")
                content = {}
                for name, field in properties.items():
                    value = await self._field(name, field, name in required)
                    if value is not None:
                        content[name] = value
            except _Declined:
                return ElicitResult(action="decline")
            except _Closed:
                return ElicitResult(action="cancel")
        return ElicitResult(action="accept", content=content)

    async def url(self, params: ElicitRequestURLParams) -> ElicitResult:
        """Show the page's address; "accept" means that the user will open it. Nothing is opened here."""
        if not self._terminal:
            return self._nobody(params.message)
        async with self._one_at_a_time:
            self._say(f"{params.message}\n  {params.url}")
            try:
                return ElicitResult(action="accept" if await self._yes("I open this page") else "decline")
            except _Closed:
                return ElicitResult(action="cancel")

    def _nobody(self, message: str) -> ElicitResult:
        self._reports.note(f"declined, because there is no terminal to ask on: {message}")
        return ElicitResult(action="decline")

    async def _field(self, name: str, field: Mapping[str, Any], required: bool) -> Any:
        default = field.get("default")
        while True:
            text = await self._ask(_prompt(name, field, default, required))
            if not text:
                if required and default is None:
                    raise _Declined
                return default
            form = {"properties": {name: field}, "required": [name]}
            try:
                return check_form(form, {name: _read(field, text)})[name]
            except InvalidForm as error:
                self._say(str(error))

    async def _yes(self, what: str) -> bool:
        return _YES_NO.get((await self._ask(f"  {what}? (y/n) ")).lower(), False)

    def _say(self, text: str) -> None:
        self._reports.clear()
        self._reports.note(text)

    async def _ask(self, prompt: str) -> str:
        self._reports.clear()
        sys.stderr.write(visible(prompt))
        sys.stderr.flush()
        line = await _read_line()
        if not line:
            sys.stderr.write("\n")
            raise _Closed
        return line.strip()


def _prompt(name: str, field: Mapping[str, Any], default: Any, required: bool) -> str:
    label = field.get("title") or name
    hints = [str(field["description"])] if field.get("description") else []
    kind = field.get("type")
    if kind == "boolean":
        hints.append("y/n")
    elif choices := _choices(field):
        hints.append(("one of " if kind != "array" else "some of, with commas: ") + ", ".join(choices))
    elif kind != "string":
        hints.append(str(kind))
    elif "format" in field:
        hints.append(str(field["format"]))
    if default is not None:
        shown = {True: "y", False: "n"}[default] if isinstance(default, bool) else default
        hints.append(f"enter for {', '.join(map(str, shown)) if isinstance(shown, list) else shown}")
    else:
        hints.append("enter to decline" if required else "enter to skip")
    return f"  {label} ({'; '.join(hints)}): "


def _choices(field: Mapping[str, Any]) -> list[str]:
    options = field.get("items") if field.get("type") == "array" else field
    if not isinstance(options, Mapping):
        return []
    for keyword in ("oneOf", "anyOf"):
        if isinstance(titled := options.get(keyword), list):
            return [
                f"{option.get('const')} ({option.get('title')})" for option in titled if isinstance(option, Mapping)
            ]
    plain = options.get("enum")
    return [str(option) for option in plain] if isinstance(plain, list) else []


def _read(field: Mapping[str, Any], text: str) -> Any:
    """What was typed, as the field's type where it can be; `check_form` refuses what could not."""
    kind = field.get("type")
    if kind == "boolean":
        return _YES_NO.get(text.lower(), text)
    if kind == "array":
        return [item.strip() for item in text.split(",")]
    if kind in ("integer", "number"):
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
    return text


async def _read_line() -> str:
    """One line from the terminal, "" at its end. Cancellation ends the wait at once."""
    if sys.platform == "win32":
        return await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    # A terminal is readable when a whole line is there, so this does not block.
    await anyio.wait_readable(sys.stdin)
    return sys.stdin.readline()
