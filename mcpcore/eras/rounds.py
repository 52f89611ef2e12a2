"""Multi round-trip requests of 2026-07-28: one handler that asks, run again with the answers so far. Pure rules.

A stateless server cannot wait for an answer. A handler that asks something not answered yet is abandoned; its
questions go out in an `input_required` result, and with them the state: every answer so far. The retry brings new
answers and the state back, perhaps to another worker, and the handler runs from its start. Each question is known by
its content, so the same handler asks the same questions in the same words until it has what it needs.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from mcpcore.errors import InvalidParams, LocalProtocolError

__all__ = ("MAX_ROUNDS", "RoundState", "Rounds", "arguments_digest")

MAX_ROUNDS = 20
"""Times one request may be answered with a question. A handler that asks more often than this does not converge."""

_KEY_DIGITS = 16
"""Hexadecimal digits of a question's key: enough that no two questions of one call ever share one."""


class RoundState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What travels in `requestState`, sealed by whoever sends it."""

    answers: dict[str, msgspec.Raw] = {}
    """The answer to each question, by key."""

    words: dict[str, str] = {}
    """A digest of each question of the last run, by key: those answered, and those that went out."""

    done: dict[str, msgspec.Raw] = {}
    """The result of each `once`, by name."""

    rounds: int = 0


_decode_state = msgspec.json.Decoder(RoundState).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


class Rounds:
    """One run of one handler over the answers so far."""

    def __init__(self, state: bytes | None, responses: Mapping[str, Any] | None) -> None:
        self._state = RoundState() if state is None else _decode_state(state)
        self._answers: dict[str, Any] = {**self._state.answers, **(responses or {})}
        self._done: dict[str, msgspec.Raw] = dict(self._state.done)
        self._asked: dict[str, int] = {}
        self._words: dict[str, str] = {}
        self.questions: dict[str, tuple[str, Any]] = {}
        """What this run asked and nobody has answered yet: method and parameters, by key."""

    def ask(self, method: str, params: Any, key: str | None = None) -> Any:
        """The raw answer to a question, or None, after noting it, when there is none yet.

        Without a `key` the question is known by its words, and the second one with the same words is another one.
        Raises `LocalProtocolError` when this key has meant another question.
        """
        digest = _sha256(_encode([method, params])).hex()[:_KEY_DIGITS]
        if key is None:
            nth = self._asked.get(digest, 0)
            self._asked[digest] = nth + 1
            key = f"{method.partition('/')[0]}-{digest}" + (f"-{nth + 1}" if nth else "")
        if self._words.get(key, digest) != digest or self._state.words.get(key, digest) != digest:
            raise LocalProtocolError(f"the question {key!r} was another one before: give each question its own key")
        self._words[key] = digest
        if key in self._answers:
            return self._answers[key]
        self.questions[key] = (method, params)
        return None

    def recall(self, name: str) -> msgspec.Raw | None:
        """The result of an earlier `once`, if there was one."""
        return self._done.get(name)

    def keep(self, name: str, result: Any) -> None:
        """Keep the result of a `once` for the runs to come. Raises `LocalProtocolError` when JSON cannot hold it."""
        try:
            self._done[name] = msgspec.Raw(_encode(result))
        except (TypeError, ValueError, OverflowError) as error:
            raise LocalProtocolError(f"the result of once({name!r}) must travel as JSON: {error}") from error

    def next_state(self) -> bytes:
        """The state to seal into the answer of this run.

        Raises `LocalProtocolError` when this run did not ask what an earlier one asked: its questions depend on
        something that changes between runs, and the answers would be taken for those to other questions.
        """
        forgotten = self._state.answers.keys() - self._words.keys()
        if self._words.keys().isdisjoint(pending := self._state.words.keys() - self._state.answers.keys()):
            # Of questions that went out together some may come later in this run; one of them has come at least.
            forgotten |= pending
        if forgotten:
            raise LocalProtocolError(
                f"this run asked {sorted(self.questions)} without asking {sorted(forgotten)} again, as an earlier run "
                "of the same request did; build each question from the arguments and earlier answers alone, and wrap "
                "what changes from run to run in ctx.once()"
            )
        if self._state.rounds >= MAX_ROUNDS:
            raise LocalProtocolError(f"the handler has asked in {MAX_ROUNDS} rounds and still asks")
        answers = {key: _raw(self._answers[key]) for key in self._words if key in self._answers}
        return _encode(RoundState(answers, self._words, self._done, self._state.rounds + 1))


def arguments_digest(*parts: Any) -> bytes:
    """A digest of the parameters that a state is bound to, the same however the client formatted them."""
    try:
        plain = [msgspec.json.decode(part) if isinstance(part, msgspec.Raw) and part else part for part in parts]
        return _sha256(_encode([None if isinstance(part, msgspec.Raw) else part for part in plain]))
    except (ValueError, RecursionError) as error:
        raise InvalidParams(f"the parameters cannot be read: {error}") from error


def _sha256(data: bytes) -> bytes:
    from hashlib import sha256  # loaded by the first question: see `mcpcore.sealing`

    return sha256(data).digest()


def _raw(answer: Any) -> msgspec.Raw:
    return answer if isinstance(answer, msgspec.Raw) else msgspec.Raw(_encode(answer))
