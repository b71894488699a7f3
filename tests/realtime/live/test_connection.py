"""Connection and back-off: states and delays under any sequence of events."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from nasion.realtime.live.connection import STEADY, BackOff, Connection


@given(st.floats(0.01, 5), st.floats(1, 8), st.integers(0, 2**32), st.integers(1, 80))
def test_delays_double_up_to_the_limit_and_keep_half_of_their_range(first, ratio, seed, attempts):
    most = first * ratio
    delays = [(BackOff(first, most, Random(seed))).delay()]
    back_off = BackOff(first, most, Random(seed))
    for attempt in range(attempts):
        longest = min(first * 2**attempt, most)
        delay = back_off.delay()
        delays.append(delay)
        assert longest / 2 <= delay <= longest
    back_off.reset()
    assert back_off.delay() <= first


def test_sources_lost_together_do_not_return_together():
    delays = {BackOff(random=Random(seed)).delay() for seed in range(20)}
    assert len(delays) == 20


EVENTS = st.lists(
    st.tuples(st.sampled_from(["open", "frame", "stall", "lose", "pause", "resume", "attempt"]), st.floats(0, 10)),
    max_size=60,
)


@given(EVENTS, st.integers(0, 2**32))
def test_counters_and_states_agree_after_any_events(events, seed):
    """A restored connection was lost before, an attempt is planned only while reconnecting, time never goes back."""
    connection, now = Connection(BackOff(random=Random(seed))), 0.0
    for event, passed in events:
        now += passed
        before = connection.state
        if event == "open" and before in ("connecting", "reconnecting"):
            connection.open(now)
        elif event == "frame" and before in ("live", "stalled"):
            assert connection.frame(now) == (before == "stalled")
        elif event == "stall" and before == "live":
            connection.stall(now)
        elif event == "lose" and before != "paused":
            delay = connection.lose(now, "lost")
            assert connection.next_attempt == now + delay
            assert 0 < delay <= 4
        elif event == "pause":
            connection.pause(now)
        elif event == "resume" and before == "paused":
            connection.resume(now)
        elif event == "attempt" and before == "reconnecting":
            connection.attempt(now)
            assert connection.reason == "lost"
        assert 0 <= connection.reconnects <= connection.losses
        assert connection.reconnects <= connection.number
        assert (connection.next_attempt is not None) == (connection.state == "reconnecting")
        assert bool(connection.reason) or connection.state not in ("stalled", "reconnecting")
        assert connection.since <= now


def test_a_connection_that_held_begins_with_the_shortest_delay_again():
    connection = Connection(BackOff(random=Random(1)))
    for _ in range(6):
        connection.open(0)
        connection.lose(0, "lost")
    assert connection.lose(0, "lost") >= 2
    connection.open(10)
    connection.frame(10 + STEADY)
    assert connection.lose(20, "lost") <= 0.5


def test_failed_attempts_are_no_losses():
    connection = Connection(BackOff(random=Random(1)))
    for _ in range(3):
        connection.attempt(0)
        connection.lose(0, "refused")
    assert connection.losses == connection.reconnects == 0
    assert not connection.open(1)
    connection.lose(2, "lost")
    connection.attempt(3)
    connection.lose(3, "refused")
    assert connection.open(4)
    assert (connection.losses, connection.reconnects, connection.number) == (1, 1, 2)
