"""Reading transcripts, and playing the client's side of one against a server.

A transcript is a text file: prose, a header of `key: value` lines, then the conversation.

    revisions: 2025-03-26 2025-06-18     what it is replayed for (`handshake` and `all` are short for several)
    server: tools                        which of `fixture_server.SERVERS` is at the other end
    client: {"sampling": {}}             the capabilities that `initialize` declares; without this line a
                                         handshake transcript begins with its own first line
    let $name = {...}                    a value for later

    -> {...}       sent as it is
    => ...         the same, for a line that is no JSON
    -> end         the client closes its side
    <- {...}       what must come next, equal in every member
    <~ {...}       one of a block of frames that may come in any order
    <- nothing     nothing more may come before the next line that is sent; the end of the file means the same
    [2025-06-18..] <- {...}              a line for some of the revisions only

In what must come, a text may stand for a value: "<any>", "<string>", "<number>", "<has some words>" for a text
that holds these words, and "$name=" for a text or number that is kept. A key may be "$name=" too. In later lines
and in what is sent "$name" is the value, also as a key, and "$name!" the same text with one character changed.
`$revision`, `$meta` (the `_meta` that 2026-07-28 demands) and `$from` (the `_meta` that it puts into results) are there
from the start.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from core.schemas import definitions, message_definition, validate

from mcpcore.methods import MULTI_ROUND, REQUESTS
from mcpcore.revisions import HANDSHAKE_REVISIONS, LATEST, LATEST_HANDSHAKE, REVISIONS, Era, Revision
from mcpcore.types import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION, META_SERVER_INFO

__all__ = ("TRANSCRIPTS", "Mismatch", "Player", "Step", "Transcript", "Wire", "matches", "read", "transcripts")

FOLDER = Path(__file__).parent

_HEADER = re.compile(r"(revisions|server|client): (.+)")
_LET = re.compile(r"let (\$\w+) = (.+)")
_LINE = re.compile(r"(?:\[([\d-]*)(\.\.)?([\d-]*)\] )?(->|=>|<-|<~) (.+)")
_SHORT = {"handshake": HANDSHAKE_REVISIONS, "all": REVISIONS}


class Mismatch(AssertionError):
    """What came is not what the transcript says; the text names the line."""


class Step(NamedTuple):
    line: int
    arrow: str
    text: str
    revisions: tuple[Revision, ...]


class Transcript(NamedTuple):
    name: str
    revisions: tuple[Revision, ...]
    server: str
    client: Any
    lets: tuple[tuple[str, Any], ...]
    steps: tuple[Step, ...]


def read(path: Path) -> Transcript:
    header: dict[str, str] = {}
    lets: list[tuple[str, Any]] = []
    steps: list[Step] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if found := _LINE.fullmatch(line):
            first, dots, last, arrow, text = found.groups()
            if arrow != "=>" and text not in ("end", "nothing"):
                json.loads(text)  # a transcript with a typing error fails here, at its own line
            steps.append(Step(number, arrow, text, tuple(_span(first, dots, last))))
        elif steps and line.strip():
            raise ValueError(f"{path.name}:{number}: neither sent nor received: {line}")
        elif found := _HEADER.fullmatch(line):
            header[found[1]] = found[2]
        elif found := _LET.fullmatch(line):
            lets.append((found[1], json.loads(found[2])))
    revisions = [one for word in header["revisions"].split() for one in _SHORT.get(word) or (Revision(word),)]
    client = json.loads(header["client"]) if "client" in header else None
    name = f"{path.parent.name}/{path.stem}"
    return Transcript(name, tuple(revisions), header["server"], client, tuple(lets), tuple(steps))


def _span(first: str | None, dots: str | None, last: str | None) -> Iterator[Revision]:
    if first and not dots:
        last = first
    for revision in REVISIONS:
        if revision.at_least(Revision(first or REVISIONS[0])) and Revision(last or REVISIONS[-1]).at_least(revision):
            yield revision


def transcripts(era: Era | None = None) -> list[Transcript]:
    folders = ("handshake", "stateless") if era is None else ("handshake" if era is Era.LEGACY else "stateless",)
    return [read(path) for folder in folders for path in sorted((FOLDER / folder).glob("*.txt"))]


TRANSCRIPTS = transcripts()


class Wire(ABC):
    """A connection to the server, one frame at a time."""

    @abstractmethod
    async def send(self, frame: bytes) -> None: ...

    @abstractmethod
    async def send_eof(self) -> None: ...

    @abstractmethod
    async def receive(self) -> bytes:
        """The next frame. Raises `TimeoutError` when none comes, `EOFError` when there will be none."""

    @abstractmethod
    async def quiet(self, era: Era) -> list[bytes]:
        """Every frame that has come, once the server has nothing more to say until it is sent something."""


class Player:
    """Plays one transcript under one revision."""

    def __init__(self, transcript: Transcript, revision: Revision, wire: Wire) -> None:
        self.transcript = transcript
        self.revision = revision
        self.wire = wire
        self.values: dict[str, Any] = {
            "$revision": revision.value,
            "$meta": {META_PROTOCOL_VERSION: revision.value, META_CLIENT_CAPABILITIES: {}},
            "$from": "<any>",
        }
        self._asked: dict[Any, tuple[str, Revision]] = {}
        self._ended = False

    async def play(self) -> None:
        steps = [step for step in self.transcript.steps if self.revision in step.revisions]
        if self.revision.era is Era.MODERN:
            await self._learn_from()
        elif self.transcript.client is not None:
            await self._handshake(self.transcript.client)
        for name, value in self.transcript.lets:
            self.values[name] = fill(value, self.values)
        while steps:
            step = steps.pop(0)
            if step.arrow in ("->", "=>"):
                await self._send(step)
            elif step.text == "nothing":
                await self._expect_nothing(step.line)
            elif step.arrow == "<-":
                await self._expect([step])
            else:
                block = [step]
                while steps and steps[0].arrow == "<~":
                    block.append(steps.pop(0))
                await self._expect(block)
        await self._expect_nothing(None)

    async def _learn_from(self) -> None:
        """What this server puts into each result's `_meta`, which `discover.txt` spells out."""
        frame = await self._ask("server/discover", {"_meta": self.values["$meta"]})
        self.values["$from"] = {META_SERVER_INFO: frame["result"]["_meta"][META_SERVER_INFO]}

    async def _handshake(self, capabilities: Any) -> None:
        info = {"name": "transcript", "version": "1"}
        params = {"protocolVersion": self.revision.value, "capabilities": capabilities, "clientInfo": info}
        frame = await self._ask("initialize", params)
        assert frame["result"]["protocolVersion"] == self.revision.value
        await self.wire.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')

    async def _ask(self, method: str, params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": "opening", "method": method, "params": params}
        self._note(request)
        await self.wire.send(json.dumps(request).encode())
        return self._check(await self.wire.receive())

    async def _send(self, step: Step) -> None:
        if step.text == "end":
            self._ended = True
            await self.wire.send_eof()
        elif step.arrow == "=>":
            await self.wire.send(step.text.encode())
        else:
            frame = fill(json.loads(step.text), self.values)
            for message in frame if isinstance(frame, list) else [frame]:
                self._note(message)
            await self.wire.send(json.dumps(frame, ensure_ascii=False).encode())

    def _note(self, message: Any) -> None:
        """Keep what a request asked and under which revision: either era may answer on one pipe."""
        if isinstance(message, dict) and isinstance(message.get("id"), int | str) and "method" in message:
            params = message.get("params")
            meta = params.get("_meta") if isinstance(params, dict) else None
            modern = isinstance(meta, dict) and META_PROTOCOL_VERSION in meta
            legacy = self.revision if self.revision.era is Era.LEGACY else LATEST_HANDSHAKE
            self._asked[message["id"]] = (message["method"], LATEST if modern else legacy)

    async def _expect(self, block: list[Step]) -> None:
        waited = [(step, json.loads(step.text)) for step in block]
        while waited:
            try:
                frame = self._check(await self.wire.receive())
            except (TimeoutError, EOFError) as error:
                raise self._mismatch(waited[0][0].line, f"{type(error).__name__}: {waited[0][0].text}") from error
            for entry in waited:
                caught = matches(entry[1], frame, self.values)
                if caught is not None:
                    self.values |= caught
                    waited.remove(entry)
                    break
            else:
                expected = "\n".join(f"  {arrow} {text}" for _, arrow, text, _ in (step for step, _ in waited))
                raise self._mismatch(waited[0][0].line, f"expected\n{expected}\ncame\n     {json.dumps(frame)}")

    async def _expect_nothing(self, line: int | None) -> None:
        if self._ended:
            try:
                frames = [await self.wire.receive()]
            except EOFError:
                return
        else:
            frames = await self.wire.quiet(self.revision.era)
        if frames:
            came = b"\n     ".join(frames).decode()
            raise self._mismatch(line, f"nothing more should come, but there came\n     {came}")

    def _mismatch(self, line: int | None, text: str) -> Mismatch:
        place = "at its end" if line is None else f"line {line}"
        return Mismatch(f"{self.transcript.name}.txt under {self.revision}, {place}: {text}")

    def _check(self, raw: bytes) -> Any:
        """The frame, after the published schema of the revision has judged it."""
        assert b"\n" not in raw
        frame = json.loads(raw)
        for message in frame if isinstance(frame, list) else [frame]:
            self._check_message(message)
        return frame

    def _check_message(self, frame: Any) -> None:
        if "method" in frame:
            assert "id" not in frame or self.revision.era is Era.LEGACY, f"a stateless server asks nothing: {frame}"
            validate(frame, self.revision, "JSONRPCMessage")
            definition = message_definition(self.revision, frame["method"])
            assert definition is not None, f"{self.revision} has no {frame['method']}"
            members = definitions(self.revision)[definition]["properties"]
            validate({key: frame[key] for key in frame if key in members}, self.revision, definition)
        elif "id" not in frame:
            # Nothing is known of what this answers. The older schemas demand an id where there is none to give.
            validate(frame, LATEST, "JSONRPCMessage")
            assert "error" in frame
        else:
            method, revision = self._asked.get(frame["id"], ("", self.revision))
            validate(frame, revision, "JSONRPCMessage")
            if "result" in frame:
                spec = REQUESTS[method]
                name = spec.result.__name__ if spec.result is not None else "EmptyResult"
                if method in MULTI_ROUND and frame["result"].get("resultType") == "input_required":
                    name = "InputRequiredResult"
                validate(frame["result"], revision, name)


def fill(value: Any, values: dict[str, Any]) -> Any:
    """`value` with every "$name" replaced."""
    if isinstance(value, list):
        return [fill(item, values) for item in value]
    if isinstance(value, dict):
        return {fill(key, values): fill(item, values) for key, item in value.items()}
    if isinstance(value, str) and re.fullmatch(r"\$\w+!?", value):
        found = values[value.rstrip("!")]
        return _tampered(found) if value.endswith("!") else found
    return value


def matches(expected: Any, actual: Any, values: dict[str, Any]) -> dict[str, Any] | None:
    """What a frame that is as expected brought to keep; None when it is another."""
    caught: dict[str, Any] = {}
    return caught if _match(expected, actual, values, caught) else None


def _match(expected: Any, actual: Any, values: dict[str, Any], caught: dict[str, Any]) -> bool:
    if isinstance(expected, str) and (found := _match_text(expected, actual, values, caught)) is not None:
        return found
    if isinstance(expected, dict):
        return isinstance(actual, dict) and _match_object(expected, actual, values, caught)
    if isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            return False
        return all(_match(one, other, values, caught) for one, other in zip(expected, actual, strict=True))
    # JSON tells 1 from true and 1 from "1"; 1 and 1.0 are one number.
    return isinstance(expected, bool) is isinstance(actual, bool) and bool(expected == actual)


def _match_text(expected: str, actual: Any, values: dict[str, Any], caught: dict[str, Any]) -> bool | None:
    if expected == "<any>":
        return True
    if expected == "<string>":
        return isinstance(actual, str) and actual != ""
    if expected == "<number>":
        return isinstance(actual, int | float) and not isinstance(actual, bool)
    if expected.startswith("<has ") and expected.endswith(">"):
        return isinstance(actual, str) and expected[5:-1] in actual
    if re.fullmatch(r"\$\w+=", expected):
        caught[expected[:-1]] = actual
        return isinstance(actual, str | int | float)
    if re.fullmatch(r"\$\w+", expected):
        wanted = {**values, **caught}[expected]
        return _match(wanted, actual, values, caught) if wanted != expected else bool(wanted == actual)
    return None


def _match_object(
    expected: dict[str, Any], actual: dict[str, Any], values: dict[str, Any], caught: dict[str, Any]
) -> bool:
    if len(expected) != len(actual):
        return False
    left = dict(actual)
    named = [key for key in expected if not key.endswith("=")]
    for key in named:
        wanted = fill(key, {**values, **caught}) if key.startswith("$") else key
        if wanted not in left or not _match(expected[key], left.pop(wanted), values, caught):
            return False
    for key in expected.keys() - named:
        for candidate in left:
            trial = dict(caught)
            if _match(expected[key], left[candidate], values, trial):
                caught |= {**trial, key[:-1]: candidate}
                del left[candidate]
                break
        else:
            return False
    return True


def _tampered(text: str) -> str:
    middle = len(text) // 2
    return text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]
