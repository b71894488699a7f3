import threading
import traceback

import pytest

from nasion.realtime.threads.channels import Channel


def run(work):
    """Start ``work`` in a thread; the caller joins it."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_items_arrive_in_order_and_the_iteration_ends_after_the_last_one():
    channel = Channel(2)
    sender = run(lambda: ([channel.put(i) for i in range(500)], channel.close()))
    assert list(channel) == list(range(500))
    sender.join()
    assert channel.dropped == 0


def test_a_full_channel_makes_the_sender_wait():
    channel = Channel(1)
    channel.put("first")
    passed = threading.Event()
    sender = run(lambda: (channel.put("second"), passed.set()))
    assert not passed.wait(0.05)
    assert next(channel) == "first"
    assert passed.wait(5)
    assert next(channel) == "second"
    sender.join()


def test_a_live_channel_drops_the_oldest_and_counts_it():
    channel = Channel(2, when_full="drop_oldest")
    for i in range(7):
        assert channel.put(i)
    channel.close()
    assert list(channel) == [5, 6]
    assert channel.dropped == 5


def test_an_error_is_raised_after_the_last_item_as_the_same_object_with_its_traceback():
    channel = Channel(4)
    channel.put(1)
    try:
        raise OSError("disk gone")
    except OSError as error:
        original = error
        channel.close(error)
    assert next(channel) == 1
    with pytest.raises(OSError, match="disk gone") as caught:
        next(channel)
    assert caught.value is original
    assert "disk gone" in traceback.format_exception(caught.value)[-2]
    with pytest.raises(StopIteration):
        next(channel)


def test_the_first_close_counts():
    channel = Channel(1)
    channel.close()
    channel.close(OSError("too late"))
    assert list(channel) == []


def test_a_receiver_that_leaves_wakes_the_sender_and_refuses_more():
    channel = Channel(1)
    channel.put(1)
    answers = []
    sender = run(lambda: answers.append(channel.put(2)))
    channel.cancel()
    sender.join(5)
    assert answers == [False]
    assert channel.put(3) is False
    assert list(channel) == []


def test_cancel_wakes_a_waiting_receiver():
    channel = Channel(1)
    seen = []
    receiver = run(lambda: seen.extend(channel))
    channel.cancel()
    receiver.join(5)
    assert not receiver.is_alive()
    assert seen == []


def test_cancel_discards_an_error_that_is_not_awaited():
    channel = Channel(1)
    channel.close(OSError("unread"))
    channel.cancel()
    assert list(channel) == []


def test_closing_wakes_every_waiting_sender():
    channel = Channel(1)
    channel.put(0)
    answers = []
    senders = [run(lambda: answers.append(channel.put(1))) for _ in range(3)]
    channel.close()
    for sender in senders:
        sender.join(5)
    assert answers == [False] * 3
    assert list(channel) == [0]


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_channel_without_room_is_refused(capacity):
    with pytest.raises(ValueError, match="at least 1"):
        Channel(capacity)


def test_an_unknown_policy_is_refused_with_those_allowed():
    with pytest.raises(ValueError, match="'drop'; allowed: wait, drop_oldest"):
        Channel(1, when_full="drop")


def test_a_callback_is_called_once_when_an_item_is_there_or_the_channel_ends():
    for end in (lambda channel: channel.put("item"), Channel.close, Channel.cancel):
        channel, called = Channel(2), []
        channel.when_ready(lambda called=called: called.append(1))
        assert not channel.ready
        assert not called
        end(channel)
        assert channel.ready
        assert called == [1]
        channel.put("another")
        assert called == [1]


def test_a_callback_is_called_at_once_if_an_item_is_there():
    channel, called = Channel(1), []
    channel.put("item")
    channel.when_ready(lambda: called.append(1))
    assert called == [1]
