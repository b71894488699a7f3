"""Pipelines in an event loop."""

import asyncio

import pytest

from nasion.engines.errors import SourceError
from nasion.realtime.pipeline import Pipeline

from ...support.fakes.pipelines import FakeSource, FakeTracker, no_thread_is_left, stages

__all__ = ["no_thread_is_left"]  # a fixture that every test uses


async def collect(frames):
    return [(frame.index, faces) async for frame, faces in frames]


@pytest.mark.parametrize("live", [False, True])
def test_async_for_gives_the_same_results(live):
    expected = [(frame.index, faces) for frame, faces in Pipeline(FakeSource(), FakeTracker())]
    found = asyncio.run(collect(Pipeline(FakeSource(live=live), FakeTracker())))
    assert found == expected if not live else len(found) >= 1
    assert stages() == []


def test_other_tasks_run_while_a_frame_is_awaited():
    source = FakeSource(count=3, blocks_at=2)

    async def main():
        async with Pipeline(source, FakeTracker()) as frames:
            waiting = asyncio.create_task(collect(frames))
            while not source.blocked.is_set():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)
            source.released.set()
            return await waiting

    assert [index for index, _ in asyncio.run(main())] == [0, 1]


def test_several_videos_are_tracked_in_one_event_loop():
    async def main():
        pipelines = [Pipeline(FakeSource(count=n), FakeTracker()) for n in (5, 20, 0)]
        return await asyncio.gather(*map(collect, pipelines))

    assert [len(found) for found in asyncio.run(main())] == [5, 20, 0]


def test_tasks_that_share_a_pipeline_get_each_frame_once():
    async def main():
        frames = Pipeline(FakeSource(count=50), FakeTracker())
        return await asyncio.gather(*(collect(frames) for _ in range(3)))

    assert sorted(index for found in asyncio.run(main()) for index, _ in found) == list(range(50))


def test_cancelling_a_task_that_waits_for_a_frame_stops_every_thread():
    source, tracker = FakeSource(count=9, blocks_at=3), FakeTracker()

    async def main():
        task = asyncio.create_task(collect(Pipeline(source, tracker)))
        while not source.blocked.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return stages()

    assert asyncio.run(main()) == []
    assert (source.closed, tracker.closed) == (1, 1)


@pytest.mark.parametrize("named", [False, True])
def test_cancelling_a_task_in_the_body_of_its_loop_stops_every_thread(named):
    source, reached = FakeSource(count=1000), asyncio.Event()

    async def follow():
        if named:
            async with Pipeline(source, FakeTracker()) as frames:
                async for _ in frames:
                    reached.set()
                    await asyncio.sleep(60)
        else:
            async for _ in Pipeline(source, FakeTracker()):
                reached.set()
                await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(follow())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return stages()

    assert asyncio.run(main()) == []
    assert source.closed == 1


def test_a_timeout_stops_every_thread():
    source = FakeSource(count=9, blocks_at=3)

    async def main():
        async with asyncio.timeout(0.05):
            await collect(Pipeline(source, FakeTracker()))

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert stages() == []


def test_leaving_an_async_loop_early_stops_every_thread():
    async def main():
        async for _ in Pipeline(FakeSource(count=1000), FakeTracker()):
            break
        return stages()

    assert asyncio.run(main()) == []


def test_an_error_is_raised_in_the_async_loop_after_the_frames_before_it():
    found = []

    async def main():
        async for frame, _ in Pipeline(FakeSource(fails_at=7), FakeTracker()):
            found.append(frame.index)

    with pytest.raises(SourceError, match="frame 7 is damaged"):
        asyncio.run(main())
    assert found == list(range(7))


def test_a_closed_pipeline_ends_the_async_loop():
    frames = Pipeline(FakeSource(), FakeTracker())
    frames.close()
    assert asyncio.run(collect(frames)) == []
