"""The helper, with driftlock and PostgreSQL as they are."""

import booking
import driftlock
import pytest

SOLD_ONCE = {"sold-once": "SELECT seat FROM bookings GROUP BY seat HAVING count(*) > 1"}
SCHEMA = "CREATE TABLE bookings (id serial PRIMARY KEY, seat int, passenger text);\nCREATE TABLE seats (id int)"


def test_a_race_that_is_lost_raises_what_driftlock_printed(driftlock_race):
    with pytest.raises(driftlock.Violation) as raised:
        driftlock_race({"customer": (booking.book, 2)}, setup=booking.schema, invariants=SOLD_ONCE)
    for text in ["violation of sold-once", "INSERT INTO bookings (seat, passenger)", "'customer-2'", "replay: "]:
        assert text in str(raised.value)


def test_a_race_that_holds_says_what_was_seen(driftlock_race):
    raced = driftlock_race({"customer": (booking.book_locked, 2)}, setup=booking.schema, invariants=SOLD_ONCE)
    assert (raced.verdict, raced.coverage, raced.violated) == ("pass", "exhausted", [])
    assert raced.executions > 1


def test_a_known_fault_is_expected_by_the_name_of_its_check(driftlock_race):
    raced = driftlock_race(
        {"customer": (booking.book_soon, 2)}, setup=SCHEMA, invariants=SOLD_ONCE, violates="sold-once"
    )
    assert (raced.verdict, raced.violated) == ("violation", ["sold-once"])


def test_an_expected_fault_that_does_not_appear_is_told(driftlock_race):
    with pytest.raises(driftlock.Violation, match="sold-once"):
        driftlock_race(
            {"customer": (booking.book_locked, 2)},
            setup=booking.schema,
            invariants=SOLD_ONCE,
            violates="sold-once",
        )


def test_different_functions_are_actors_of_their_own(driftlock_race):
    raced = driftlock_race(
        {"buyer": booking.book_locked, "other_side": booking.cancel}, setup=booking.schema, invariants=SOLD_ONCE
    )
    assert raced.verdict == "pass"


def test_what_a_function_raises_is_its_failure(driftlock_race):
    with pytest.raises(driftlock.DriftlockError, match="ValueError: no such passenger.*nothing runs concurrently"):
        driftlock_race({"customer": booking.fail}, setup=booking.schema, invariants=SOLD_ONCE)
    with pytest.raises(driftlock.Violation, match="ValueError: the seat is taken"):
        driftlock_race({"customer": (booking.book_or_fail, 2)}, setup=booking.schema, invariants=SOLD_ONCE)


def test_a_set_up_that_fails_is_an_error_with_its_words(driftlock_race):
    with pytest.raises(driftlock.DriftlockError, match='relation "nowhere" does not exist'):
        driftlock_race({"customer": booking.book}, setup="INSERT INTO nowhere VALUES (1)")


def test_a_function_that_no_other_process_can_find_is_refused(driftlock_race):
    with pytest.raises(driftlock.DriftlockError, match="top level of a module"):
        driftlock_race({"customer": lambda: None}, setup=booking.schema)


@pytest.mark.parametrize("case", ["Größe: 1/2", "x" * 100])
def test_whatever_a_test_is_called_driftlock_takes_its_name(driftlock_race, case):
    with pytest.raises(driftlock.DriftlockError, match="nowhere"):
        driftlock_race({"Customer_A": booking.book}, setup="INSERT INTO nowhere VALUES (1)")


def test_without_the_program_it_is_said_where_it_is_looked_for(driftlock_race, monkeypatch):
    monkeypatch.setenv("DRIFTLOCK", "no-such-driftlock")
    with pytest.raises(driftlock.DriftlockError, match="put driftlock in PATH"):
        driftlock_race({"customer": booking.book}, setup=booking.schema)


@driftlock.race(setup=booking.schema, invariants=SOLD_ONCE)
def test_a_decorated_function_is_its_own_test(actor):
    booking.book_locked(actor)
