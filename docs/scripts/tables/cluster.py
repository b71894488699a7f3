"""Tables of annotation on a Ray cluster: speed, kills, and what would limit a large cluster."""

from __future__ import annotations

from reports import BENCH, read, table, where


def cluster_speed() -> str:
    """Return the table of the speed-up and of the overhead of a piece."""
    report = read(BENCH / "cluster-speed.json")
    found = report["measured"]
    width, height = found["size"]
    rows = [
        ["one process, no cluster", f"{found['one_process_seconds']:.1f} s"],
        ["one worker", f"{found['workers_1_seconds']:.1f} s"],
        ["two workers", f"{found['workers_2_seconds']:.1f} s"],
        ["one worker over two", f"{found['speed_up']:.2f}"],
        [f"work of a piece of {found['chunk']} frames", f"{found['piece_seconds']:.2f} s"],
        ["of which until its first frame can be read", f"{found['run_up_ms']:.0f} ms"],
        ["time of a task of Ray without work", f"{found['ray_task_ms']:.2f} ms"],
        ["both of the work of a piece", f"{found['overhead_of_a_piece_percent']:.1f} %"],
        ["finding the key frames of the video", f"{found['find_key_frames_ms']:.0f} ms"],
    ]
    head = f"{found['video_seconds']:.0f} s of {width}×{height} in {found['pieces']} pieces, JSON Lines"
    return table([head, ""], rows) + where(report)


def cluster_kills() -> str:
    """Return the line about killed workers and drivers."""
    report = read(BENCH / "cluster-kills.json")
    found = report["measured"]
    text = (
        f"{found['workers_killed']} × `kill -9` of a random worker in {found['runs']} runs with two workers, and "
        f"{found['drivers_killed_and_resumed']} × of the driver, then `--resume`: of {found['files_compared']} files, "
        f"{len(found['differing'])} differ from those of one process."
    )
    return f"{text}\n{where(report)}"


def cluster_limits() -> str:
    """Return the table of what would limit a large cluster."""
    report = read(BENCH / "cluster-limits.json")
    found = report["measured"]
    rows = [
        ["seconds of a worker for a task, in the mean", f"{found['seconds_of_a_task']:.1f}"],
        ["tasks a second that keep all workers busy", f"{found['tasks_per_second_needed']:.0f}"],
        ["driver's time for a task, in the mean, ms", f"{found['driver_ms_of_a_task_in_all']:.1f}"],
        ["of which Ray's part", f"{found['ray_task_ms']:.1f}"],
        ["appending a piece to its journal on this disk, ms", f"{found['append_ms_of_a_piece']:.1f}"],
        ["tasks a second that the driver can begin and take", f"{found['tasks_per_second_of_the_driver']:.0f}"],
        ["workers that one driver can feed", f"{found['workers_that_the_driver_feeds']:,.0f}"],
        ["workers busy in the simulation, %", f"{found['workers_busy_percent']:.0f}"],
        ["lines of journals through the driver, MB/s", f"{found['journal_mb_per_second_through_the_driver']:.0f}"],
        ["video from storage at 2 Mbit/s, MB/s", f"{found['video_mb_per_second_from_storage']:,.0f}"],
        ["memory of the driver for the list of inputs, GB", f"{found['driver_gb_for_the_inputs']:.1f}"],
        ["days for all videos", f"{found['days_of_the_work']:.0f}"],
    ]
    head = f"{found['workers']:,} workers, {found['videos']:,} videos, half of them of ten minutes"
    return table([head, ""], rows) + where(report)


TABLES = {"cluster_speed": cluster_speed, "cluster_kills": cluster_kills, "cluster_limits": cluster_limits}
