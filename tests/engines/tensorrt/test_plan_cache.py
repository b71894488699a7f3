"""Plans are served only where they were built for, and never when damaged."""

from __future__ import annotations

import multiprocessing
import os
import stat
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasion.engines.errors import ModelError, RuntimeUnavailable
from nasion.engines.gpu.driver import Gpu
from nasion.engines.spec import Spec
from nasion.engines.tensorrt.plan_cache import MAGIC, Plan, PlanCache, PlanKey, _is_ours, cache_folder, read_plan

KEY = PlanKey(
    model="a" * 64,
    precision="fp32",
    profile="1:8:32 x 3 x 112 x 112",
    workspace="any",
    tensorrt="tensorrt 10.7.0",
    gpu="NVIDIA L4",
    capability="8.9",
    plugins="b" * 64,
)
PLAN = Plan(KEY, Spec("landmarks", "points", (112, 112), landmarks=68), (1, 8, 32), b"engine" * 50, {"layers": 3})


def test_a_plan_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "plans")
    path = cache.store("points", PLAN)
    found, reason = cache.find("points", KEY)
    assert found == PLAN
    assert read_plan(path) == PLAN
    assert reason == f"{path.name} from the cache"


@pytest.mark.parametrize("name", [field.name for field in fields(PlanKey)])
def test_a_plan_serves_only_where_every_entry_of_its_key_is_the_same(name: str, tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.store("points", PLAN)
    wanted = replace(KEY, **{name: "something else"})
    assert wanted.digest != KEY.digest
    found, reason = cache.find("points", wanted)
    assert found is None
    assert "differs" in reason
    assert "wanted is something else" in reason


def test_the_reason_names_what_differs_from_the_plan_that_is_most_alike(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    assert cache.find("points", KEY) == (None, "there is no plan of points yet")
    cache.store("points", replace(PLAN, key=replace(KEY, gpu="NVIDIA T4", capability="7.5", model="c" * 64)))
    cache.store("points", replace(PLAN, key=replace(KEY, tensorrt="tensorrt 10.9.0")))
    _, reason = cache.find("points", KEY)
    assert reason.endswith("differs: the version tensorrt 10.9.0, wanted is tensorrt 10.7.0")
    _, reason = cache.find("points", replace(KEY, gpu="NVIDIA T4", capability="7.5", model="d" * 64))
    assert reason.endswith("differs: the model cccccccccccc…, wanted is dddddddddddd…")


def test_plans_of_two_gpus_lie_side_by_side(tmp_path: Path) -> None:
    cache, other = PlanCache(tmp_path), replace(KEY, gpu="NVIDIA A10")
    cache.store("points", PLAN)
    cache.store("points", replace(PLAN, key=other))
    assert cache.find("points", KEY)[0] == PLAN
    assert cache.find("points", other)[0] is not None


def test_a_plan_under_the_name_of_another_is_not_served(tmp_path: Path) -> None:
    cache, other = PlanCache(tmp_path), replace(KEY, gpu="NVIDIA A10")
    cache.store("points", PLAN).rename(cache.path_of("points", other))
    found, reason = cache.find("points", other)
    assert found is None
    assert "built for another configuration: the GPU NVIDIA L4, wanted is NVIDIA A10" in reason


@given(st.integers(0, len(PLAN.to_bytes()) - 1), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(place: int, change: int) -> None:
    content = bytearray(PLAN.to_bytes())
    content[place] ^= change
    with pytest.raises(ModelError, match=r"x\.plan is (damaged|not a nasion plan)"):
        Plan.from_bytes(bytes(content), origin="x.plan")


@given(st.integers(0, len(PLAN.to_bytes()) - 1))
def test_no_missing_end_goes_unnoticed(length: int) -> None:
    with pytest.raises(ModelError, match=r"x\.plan is (damaged|not a nasion plan)"):
        Plan.from_bytes(PLAN.to_bytes()[:length], origin="x.plan")


@given(st.binary())
def test_what_is_not_a_plan_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match="not a nasion plan"):
        Plan.from_bytes(content, origin="x.plan")


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xff\xff\xff", b"\x02\0\0\0{}rest", b"\x04\0\0\0null", b'\x0a\0\0\0{"key": 7}']
)
def test_a_whole_file_with_another_header_is_of_another_version(body: bytes) -> None:
    import hashlib

    with pytest.raises(ModelError, match="another version of nasion"):
        Plan.from_bytes(MAGIC + hashlib.sha256(body).digest() + body, origin="x.plan")


def test_a_damaged_plan_of_the_cache_is_a_reason_to_build_and_no_error(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    path = cache.store("points", PLAN)
    path.write_bytes(path.read_bytes()[:-1])
    found, reason = cache.find("points", KEY)
    assert found is None
    assert "damaged" in reason
    found, reason = cache.find("points", replace(KEY, gpu="NVIDIA A10"))
    assert found is None
    assert "damaged" in reason
    cache.store("points", PLAN)
    assert cache.find("points", KEY)[0] == PLAN


def test_measured_times_come_back_and_damaged_ones_do_no_harm(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    assert cache.timing("tensorrt 10.7.0", "NVIDIA L4") == b""
    cache.store_timing("tensorrt 10.7.0", "NVIDIA L4", b"times")
    assert cache.timing("tensorrt 10.7.0", "NVIDIA L4") == b"times"
    assert cache.timing("tensorrt 10.8.0", "NVIDIA L4") == b""
    (file,) = tmp_path.glob("*.timing")
    file.write_bytes(file.read_bytes()[:-1])
    assert cache.timing("tensorrt 10.7.0", "NVIDIA L4") == b""


def test_a_write_that_fails_leaves_the_old_plan_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PlanCache(tmp_path)
    cache.store("points", PLAN)

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(RuntimeUnavailable, match=r"cannot be kept in .* \(disk full\)"):
        cache.store("points", replace(PLAN, engine=b"new"))
    monkeypatch.undo()
    assert cache.find("points", KEY)[0] == PLAN
    assert len(list(tmp_path.iterdir())) == 1


def _store_often(folder: Path, engine: bytes) -> None:
    for _ in range(30):
        PlanCache(folder).store("points", replace(PLAN, engine=engine))


def test_several_processes_never_read_half_a_plan(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.store("points", PLAN)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_store_often, args=(tmp_path, bytes([i]) * 100_000)) for i in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert cache.find("points", KEY)[0] is not None
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0


def test_the_folder_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NASION_PLANS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "nasion" / "plans"
    monkeypatch.setenv("NASION_PLANS", str(tmp_path / "mine"))
    cache = PlanCache()
    cache.store("points", PLAN)
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o700


def test_a_cache_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasion.engines.tensorrt.plan_cache._is_ours", lambda folder: False)
    with pytest.raises(RuntimeUnavailable, match=r"other users can write to the plan cache .* set NASION_PLANS"):
        PlanCache(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="only there do files have owners of this kind")
def test_a_folder_is_ours_if_it_is_this_users_or_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    assert _is_ours(tmp_path)
    assert _is_ours(tmp_path / "not there yet")
    for mode, ours in ((0o755, True), (0o775, False), (0o757, False), (0o700, True)):
        tmp_path.chmod(mode)
        assert _is_ours(tmp_path) == ours
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert _is_ours(tmp_path) == (owner == 0)


def test_a_cache_that_cannot_be_written_says_so_before_a_plan_is_built(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for call in (PlanCache.open, lambda cache: cache.store("points", PLAN)):
        with pytest.raises(RuntimeUnavailable, match=r"plans cannot be kept in .*Not a directory.*set NASION_PLANS"):
            call(PlanCache(tmp_path / "file" / "plans"))


def test_the_plan_of_another_model_whose_name_begins_alike_is_not_compared(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.store("points-fp16", PLAN)
    assert cache.find("points", KEY) == (None, "there is no plan of points yet")


def test_names_of_models_that_no_file_system_allows_are_changed(tmp_path: Path) -> None:
    path = PlanCache(tmp_path).store("a/b: ü*", PLAN)
    assert path.parent == tmp_path
    assert path.name.startswith("a-b-")


def test_cards_of_one_name_with_other_memory_are_other_gpus() -> None:
    eight, twelve = (Gpu(0, "NVIDIA GeForce RTX 3060", "8.6", memory << 30) for memory in (8, 12))
    assert eight.make == "NVIDIA GeForce RTX 3060, 8.0 GB"
    mine, wanted = (replace(KEY, gpu=card.make) for card in (eight, twelve))
    assert mine.digest != wanted.digest
    assert mine.differences(wanted) == [f"the GPU {eight.make}, wanted is {twelve.make}"]
