"""mcpcore.exchange: each id has exactly one outcome, whatever the order of events."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from mcpcore.errors import LocalProtocolError
from mcpcore.exchange import Exchange

IDS = st.sampled_from([1, 2, 3, "1", "2", "a", 0, ""])


class Reply:
    """Stands for a reply channel or an inbox; compared by identity, as those are."""


# ------------------------------------------------------------------ the peer asks


def test_an_answer_is_given_once() -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    reply = Reply()
    assert exchange.accept(1, reply)
    assert exchange.answer(1, reply)
    assert not exchange.answer(1, reply)
    assert exchange.statistics().late == 1
    assert exchange.idle


def test_the_second_of_two_requests_with_one_id_is_refused() -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    first, second = Reply(), Reply()
    assert exchange.accept(1, first)
    assert not exchange.accept(1, second)
    assert exchange.statistics().duplicates == 1
    assert not exchange.answer(1, second)
    assert exchange.answer(1, first)


def test_ids_of_both_types_are_different_ids() -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    number, text = Reply(), Reply()
    assert exchange.accept(1, number)
    assert exchange.accept("1", text)
    assert exchange.answer("1", text)
    assert exchange.answer(1, number)


def test_a_cancelled_request_is_not_answered() -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    reply = Reply()
    exchange.accept(1, reply)
    assert exchange.cancelled(1) is reply
    assert exchange.cancelled(1) is None
    assert not exchange.answer(1, reply)
    assert exchange.statistics().late == 1


def test_a_late_answer_does_not_answer_a_later_request_with_the_same_id() -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    early, later = Reply(), Reply()
    exchange.accept(1, early)
    exchange.cancelled(1)
    assert exchange.accept(1, later)
    assert not exchange.answer(1, early)
    assert exchange.answer(1, later)


def test_cancelling_what_is_answered_does_nothing() -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    reply = Reply()
    exchange.accept(1, reply)
    exchange.answer(1, reply)
    assert exchange.cancelled(1) is None


# ------------------------------------------------------------------ we ask


def test_an_answer_of_the_peer_goes_home_once() -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    home = Reply()
    exchange.ask(1, home)
    assert exchange.home_of(1) is home
    assert exchange.answered(1) is home
    assert exchange.answered(1) is None
    assert exchange.home_of(1) is None
    assert exchange.statistics().orphans == 2


@pytest.mark.parametrize("id", [None, 5, "x"])
def test_an_answer_to_nobody_is_an_orphan(id: Any) -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    exchange.ask(1, Reply())
    assert exchange.answered(id) is None
    assert exchange.home_of(id) is None
    assert exchange.statistics().orphans == 2
    assert exchange.statistics().awaited == 1


def test_an_id_in_flight_is_not_used_again_and_the_first_request_stays() -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    home = Reply()
    exchange.ask(1, home)
    with pytest.raises(LocalProtocolError, match="the id 1 is in flight"):
        exchange.ask(1, Reply())
    assert exchange.answered(1) is home


def test_the_peer_is_told_of_a_withdrawal_once_and_only_in_flight() -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    assert not exchange.withdraw(1)
    exchange.ask(1, Reply())
    assert exchange.withdraw(1)
    assert not exchange.withdraw(1)
    assert exchange.answered(1) is None
    exchange.ask(2, Reply())
    exchange.answered(2)
    assert not exchange.withdraw(2)


def test_initialize_is_withdrawn_in_silence_and_its_id_is_free_of_that_afterwards() -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    exchange.ask(1, Reply(), cancellable=False)
    assert not exchange.withdraw(1)
    exchange.ask(1, Reply())
    assert exchange.withdraw(1)
    exchange.ask(2, Reply(), cancellable=False)
    exchange.answered(2)
    exchange.ask(2, Reply())
    assert exchange.withdraw(2)


def test_both_tables_are_apart() -> None:
    exchange: Exchange[Reply, Reply] = Exchange()
    theirs, ours = Reply(), Reply()
    exchange.accept(1, theirs)
    exchange.ask(1, ours)
    assert exchange.cancelled(1) is theirs
    assert exchange.answered(1) is ours


# ------------------------------------------------------------------ any order of events


class ExchangeMachine(RuleBasedStateMachine):
    """Both tables against the obvious model: a dict of what is in flight and a list of what became of each."""

    asked = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.exchange: Exchange[Reply, Reply] = Exchange()
        self.owed: dict[Any, Reply] = {}
        self.awaited: dict[Any, tuple[Reply, bool]] = {}
        self.outcomes: dict[Reply, str] = {}
        self.duplicates = self.orphans = self.late = 0

    def settle(self, reply: Reply, outcome: str) -> None:
        assert reply not in self.outcomes, f"{self.outcomes[reply]} and then {outcome}"
        self.outcomes[reply] = outcome

    @rule(target=asked, id=IDS)
    def the_peer_asks(self, id: Any) -> Any:
        reply = Reply()
        accepted = self.exchange.accept(id, reply)
        assert accepted == (id not in self.owed)
        if accepted:
            self.owed[id] = reply
        else:
            self.duplicates += 1
            self.settle(reply, "refused")
        return multiple((id, reply))

    @rule(request=asked)
    def we_answer(self, request: tuple[Any, Reply]) -> None:
        id, reply = request
        if self.exchange.answer(id, reply):
            assert self.owed.pop(id) is reply
            self.settle(reply, "answered")
        else:
            assert self.owed.get(id) is not reply
            self.late += 1
            assert reply in self.outcomes

    @rule(request=consumes(asked))
    def we_answer_for_the_last_time(self, request: tuple[Any, Reply]) -> None:
        self.we_answer(request)

    @rule(id=IDS)
    def the_peer_cancels(self, id: Any) -> None:
        reply = self.exchange.cancelled(id)
        assert reply is self.owed.pop(id, None)
        if reply is not None:
            self.settle(reply, "cancelled")

    @rule(id=IDS, cancellable=st.booleans())
    def we_ask(self, id: Any, cancellable: bool) -> None:
        home = Reply()
        if id in self.awaited:
            with pytest.raises(LocalProtocolError):
                self.exchange.ask(id, home, cancellable=cancellable)
        else:
            self.exchange.ask(id, home, cancellable=cancellable)
            self.awaited[id] = (home, cancellable)

    @rule(id=IDS | st.none())
    def the_peer_answers(self, id: Any) -> None:
        home = self.exchange.answered(id)
        expected = self.awaited.pop(id, (None, True))[0]
        assert home is expected
        if home is None:
            self.orphans += 1
        else:
            self.settle(home, "answered")

    @rule(id=IDS)
    def we_give_up(self, id: Any) -> None:
        told = self.exchange.withdraw(id)
        if id in self.awaited:
            home, cancellable = self.awaited.pop(id)
            assert told == cancellable
            self.settle(home, "withdrawn")
        else:
            assert not told

    @rule(token=IDS | st.none())
    def the_peer_reports_progress(self, token: Any) -> None:
        home = self.exchange.home_of(token)
        assert home is self.awaited.get(token, (None, True))[0]
        if home is None:
            self.orphans += 1

    @invariant()
    def the_counters_agree(self) -> None:
        counted = self.exchange.statistics()
        assert (counted.owed, counted.awaited) == (len(self.owed), len(self.awaited))
        assert (counted.duplicates, counted.orphans, counted.late) == (self.duplicates, self.orphans, self.late)
        assert self.exchange.idle == (not self.owed and not self.awaited)

    def teardown(self) -> None:
        """Whoever is still in flight has no outcome yet, and gets exactly one."""
        for id, reply in tuple(self.owed.items()):
            assert reply not in self.outcomes
            assert self.exchange.answer(id, reply)
        for id, (home, _) in tuple(self.awaited.items()):
            assert home not in self.outcomes
            assert self.exchange.answered(id) is home
        assert self.exchange.idle
        assert not self.exchange._silent


TestExchangeMachine = ExchangeMachine.TestCase
TestExchangeMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
