"""The script for a first run on an NVIDIA machine, as far as it goes without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

import pytest

from ..conftest import ROOT

SCRIPT = ROOT / "tests" / "gpu" / "first_run.py"
sys.path.insert(0, str(SCRIPT.parent))  # where the script, started as a program, finds its parts
import first_run  # noqa: E402
import first_run_packages as packages  # noqa: E402
import first_run_parts as parts  # noqa: E402
from first_run_parts import Part  # noqa: E402
from first_run_place import Lacking, Place, Unfit  # noqa: E402

CLEAN = "========= ERROR SUMMARY: 0 errors"


class Scripted(Place):
    """Answers instead of running: the text of a log, or what is wrong."""

    answers: Mapping[str, str | Unfit] = {}

    def run(self, log: str, command: Sequence[str], *, most: float, **variables: str) -> str:
        answer = self.answers.get(log, "")
        if isinstance(answer, Unfit):
            raise answer
        (self.out / f"{log}.log").write_text(answer)
        return answer


def scripted(folder: Path, **answers: str | Unfit) -> Scripted:
    place = Scripted(folder, sys.executable, monotonic() + 60)
    Scripted.answers = {name.replace("_", "-"): answer for name, answer in answers.items()}
    return place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, sys.executable, monotonic() + 60)


def program(folder: Path, name: str, text: str) -> Path:
    """An executable shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_without_a_gpu_each_part_is_skipped_with_its_reason_and_the_script_fails(tmp_path: Path) -> None:
    pytest.importorskip("torch")  # which the script would download
    out = tmp_path / "report"
    command = [sys.executable, SCRIPT, "--out", out, "--parts", "environment,torch,kernels"]
    # as it would be on a machine without NVIDIA's driver
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PATH": f"{Path(sys.executable).parent}:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=hidden, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    summary = {each["part"]: each for each in json.loads((out / "summary.json").read_text())}
    assert summary["environment"]["state"] == "passed", summary
    assert summary["torch"]["state"] == summary["kernels"]["state"] == "skipped"
    assert "no NVIDIA driver" in summary["torch"]["told"]
    assert "kernels      skipped" in done.stdout


def run_parts(folder: Path, patch: pytest.MonkeyPatch, *words: str, **chosen: Part) -> tuple[int, list[dict[str, str]]]:
    """Run the script with other parts; its exit status and its summary."""
    patch.setattr(first_run, "PARTS", chosen)
    with pytest.raises(SystemExit) as end:
        first_run.main(["--out", str(folder), "--parts", ",".join(chosen), *words])
    return int(end.value.code or 0), json.loads((folder / "summary.json").read_text())


def test_a_script_whose_parts_all_pass_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_refused", lambda place, code: "")  # there is a GPU
    status, summary = run_parts(tmp_path, monkeypatch, clips=Part(lambda place: "fast", 1))
    assert (status, summary[0]["state"], summary[0]["told"]) == (0, "passed", "fast")


def test_a_run_without_a_gpu_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_parts(tmp_path, monkeypatch, doctor=Part(lambda place: "well", 1, gpu=False))[0] == 1


def test_parts_that_break_or_lack_something_leave_the_others_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(place: Place) -> str:
        raise KeyError("fps")

    status, summary = run_parts(
        tmp_path, monkeypatch,
        doctor=Part(broken, 1, gpu=False),
        torch=Part(lambda place: "", 1, ("no_such_package",), gpu=False),
        build=Part(lambda place: "built", 1, gpu=False),
    )  # fmt: skip
    assert status == 1
    assert [(each["state"], each["told"]) for each in summary] == [
        ("failed", "KeyError: 'fps'"),
        ("skipped", "not installed: no_such_package"),
        ("passed", "built"),
    ]


def test_a_slow_part_is_ended_and_leaves_the_others_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Part(lambda place: place.run("slow", ["sleep", "60"], most=60), 0.02, gpu=False)
    quick = Part(lambda place: place.run("quick", ["echo", "done"], most=60).strip(), 1, gpu=False)
    _, summary = run_parts(tmp_path, monkeypatch, doctor=slow, build=quick)
    assert [each["state"] for each in summary] == ["failed", "passed"]
    assert summary[0]["told"].startswith("ended after ")


def test_parts_for_which_no_time_is_left_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part(lambda place: place.run("x", ["true"], most=60), 1, gpu=False)
    _, summary = run_parts(tmp_path, monkeypatch, "--minutes", "0", build=part)
    assert summary[0]["state"] == "skipped"
    assert "no time was left" in summary[0]["told"]


def test_from_a_virtual_environment_the_own_one_sees_its_packages(tmp_path: Path) -> None:
    """``--system-site-packages`` would show those of the base Python instead."""
    parent = tmp_path / "parent"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", parent], check=True)
    (purelib,) = (parent / "lib").glob("python*/site-packages")
    (purelib / "only_here.py").write_text("WORDS = 'seen'\n")
    code = f"""
import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})
from pathlib import Path
from time import monotonic
import first_run_packages as packages
from first_run_place import Place
place = Place(Path({str(tmp_path)!r}), sys.executable, monotonic() + 60)
place.python = str(packages.own_environment(place))
print(place.python, place.code("see", "import only_here; print(only_here.WORDS)", most=60))
print(packages.missing(place, ("only_here", "no_such_thing")))
"""
    done = subprocess.run([parent / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / "venv" / "bin" / "python"), "seen", "['no_such_thing']"]


def test_the_networks_run_with_nothing_but_torch_and_numpy(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    others = "cv2 av PIL onnxruntime cyclopts rich onnx onnxscript scipy h5py pytest"
    code = f"""
import sys, runpy
for name in {others!r}.split(): sys.modules[name] = None
sys.argv = ["torch_alone.py", {str(tmp_path / "torch.json")!r}, "--cpu"]
runpy.run_path({str(SCRIPT.with_name("torch_alone.py"))!r}, run_name="__main__")
"""
    place = Place(tmp_path, sys.executable, monotonic() + 120)
    place.code("torch", code, most=120)
    report = json.loads((tmp_path / "torch.json").read_text())
    assert report["device"] == "CPU"
    assert {each["network"] for each in report["results"]} == {"landmarks-68", "landmarks-68-accurate", "face-detector"}
    assert all(each["ms"] > 0 and each["worst"] == 0 for each in report["results"])


def test_an_unknown_part_lists_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        first_run.main(["--parts", "doctor,engine"])
    assert end.value.code == 2
    assert "engine unknown; allowed: environment, doctor, torch, build, kernels" in capsys.readouterr().err


def test_what_hangs_is_ended_with_all_that_it_started(place: Place) -> None:
    begin = monotonic()
    with pytest.raises(Unfit, match=r"ended after 1 s, see slow\.log: first words"):
        place.run("slow", ["sh", "-c", f"echo first words; sleep 60 & echo $! >{place.out}/child; wait"], most=1)
    assert monotonic() - begin < 30
    child = Path("/proc") / (place.out / "child").read_text().strip() / "stat"
    for _ in range(100):
        if not child.exists() or ") Z" in child.read_text():
            return
        sleep(0.1)
    pytest.fail("the child lives on")


def test_when_no_time_is_left_nothing_is_started(place: Place) -> None:
    place.end = monotonic() - 1
    with pytest.raises(Lacking, match="no time was left"):
        place.run("late", ["touch", str(place.out / "touched")], most=60)
    assert not (place.out / "touched").exists()


def test_a_command_that_fails_is_reported_with_its_last_lines(place: Place) -> None:
    with pytest.raises(Unfit, match=r"exit status 3, see x\.log: one \| two"):
        place.run("x", ["sh", "-c", "echo zero; echo one; echo two >&2; exit 3"], most=60)
    with pytest.raises(Unfit, match="nowhere cannot be started"):
        place.run("y", ["nowhere"], most=60)


def test_parts_see_the_sources_and_the_folder_of_the_report(place: Place) -> None:
    code = "import nasion, os; print(nasion.__file__); print(os.environ['NASION_PLUGINS'])"
    found, folder = place.code("z", code, most=60).splitlines()
    assert Path(found).resolve().is_relative_to(ROOT / "src")
    assert folder == str(place.out / "native")


NO_NETWORK = "NewConnectionError: Failed to establish a new connection"


def test_packages_that_can_be_had_nowhere_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "missing", lambda place, names=packages.NEEDED: list(names))
    monkeypatch.setattr(packages, "own_environment", lambda place: tmp_path / "venv" / "bin" / "python")
    with pytest.raises(Lacking, match=r"numpy, cyclopts, .* are missing, and cannot be installed: no network"):
        packages.environment(scripted(tmp_path, environment_pip=Unfit("no network")))


def test_without_a_network_it_goes_on_with_torch_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ["cv2", "av"]
    monkeypatch.setattr(
        packages, "missing", lambda place, names=packages.NEEDED: [name for name in names if name in gone]
    )
    monkeypatch.setattr(packages, "own_environment", lambda place: tmp_path / "venv" / "bin" / "python")
    monkeypatch.setattr(packages.shutil, "which", lambda name: f"/bin/{name}")
    place = scripted(tmp_path, environment_pip=Unfit("exit status 1"), environment_gpu="tensorrt>=10.7\n")
    (tmp_path / "environment-pip.log").write_text(NO_NETWORK)
    assert packages.environment(place) == "no network: goes on without cv2, av, tensorrt>=10.7"
    assert place.python == sys.executable


def test_packages_for_the_gpu_are_tried_and_those_that_cannot_be_had_are_reported(tmp_path: Path) -> None:
    wanted = ["tensorrt>=10.7", "onnxruntime-gpu[cuda,cudnn]>=1.27,<2"]
    place = scripted(tmp_path, environment_tensorrt=Unfit("no wheel"))
    assert packages.for_the_gpu(place, wanted) == ["no tensorrt>=10.7 (no wheel)", wanted[1]]
    assert (tmp_path / "environment-again.log").is_file(), "one ONNX Runtime is left"


def test_the_first_package_that_finds_no_network_is_the_last_one_tried(tmp_path: Path) -> None:
    place = scripted(tmp_path, environment_tensorrt=Unfit("exit status 1"))
    (tmp_path / "environment-tensorrt.log").write_text(NO_NETWORK)
    told = packages.for_the_gpu(place, ["tensorrt>=10.7", "onnxruntime-gpu"])
    assert told == ["no tensorrt>=10.7 (exit status 1)", "no network"]
    assert not (tmp_path / "environment-onnxruntime-gpu.log").exists()


def test_what_an_interpreter_lacks_is_found_by_the_names_of_packages_and_modules(place: Place) -> None:
    assert packages.missing(place, ("numpy", "opencv-python", "cv2", "no-such-thing")) == ["no-such-thing"]


def test_the_report_of_doctor_is_kept_and_a_gpu_is_asked_for(tmp_path: Path) -> None:
    finding = {"topic": "GPU", "name": "NVIDIA", "state": "ok", "found": "H100"}
    text = "a warning [of something]\n" + json.dumps({"findings": [finding]}, indent=1) + "\n"
    assert parts.doctor(scripted(tmp_path, doctor=text)) == "NVIDIA: H100"
    assert json.loads((tmp_path / "doctor.json").read_text()) == {"findings": [finding]}
    absent = json.dumps({"findings": [finding | {"state": "absent", "found": "none found"}]}, indent=1)
    with pytest.raises(Lacking, match="NVIDIA: none found"):
        parts.doctor(scripted(tmp_path, doctor=absent))
    broken = {"topic": "package", "name": "av", "state": "broken", "found": "not installed"}
    with pytest.raises(Unfit, match="av: not installed; NVIDIA: H100"):
        parts.doctor(scripted(tmp_path, doctor=json.dumps({"findings": [broken, finding]}, indent=1)))


def test_a_build_without_kernels_has_failed_if_there_is_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "built reference kernels\nskipped plugins: no headers\n"
    assert parts.build(scripted(tmp_path, build=whole)) == "built reference kernels; skipped plugins: no headers"
    without = scripted(tmp_path, build="built reference\nskipped kernels: no CUDA compiler\n")
    for nvcc, kind in ((None, Lacking), ("/usr/bin/nvcc", Unfit)):
        monkeypatch.setattr(parts.shutil, "which", lambda name, found=nvcc: found)
        with pytest.raises(Unfit, match="skipped kernels: no CUDA compiler") as error:
            parts.build(without)
        assert type(error.value) is kind


def test_the_build_gets_as_far_as_the_tools_of_the_machine(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unfit, match="cmake"):
        place.code("build", parts.BUILD, most=60)


@pytest.mark.parametrize(
    ("says", "match"),
    [
        (f"echo '{CLEAN}'; exec $4 $5", None),
        (f"case $1 in race*) echo hazard; exit 9;; esac; echo '{CLEAN}'; exec $4 $5", "^racecheck: exit status 9"),
        ("exec $4 $5", "^memcheck: no clean summary.*; racecheck: no clean summary"),  # it has watched nothing
        (f"echo '{CLEAN}'", "^memcheck: no clean summary"),  # the program has not run
    ],
)
def test_the_sanitizer_must_find_nothing_with_every_tool(place: Place, says: str, match: str | None) -> None:
    place.python = str(program(place.out, "python", "echo '48 calls, 0 of them wrong'"))
    program(place.out, "compute-sanitizer", f"shift; tool=$1; set -- $tool $2 $3 $4 $5; {says}")
    place.path = [str(place.out)]
    if match is None:
        assert parts.sanitizer(place) == "memcheck, racecheck, initcheck, synccheck find nothing"
        assert {f"sanitizer-{tool}.log" for tool in parts.SANITIZERS} <= {each.name for each in place.out.iterdir()}
    else:
        with pytest.raises(Unfit, match=match):
            parts.sanitizer(place)


def test_an_aim_of_the_kernels_that_is_missed_fails_and_is_named(tmp_path: Path) -> None:
    report = {
        "results": [{"kernel": "crops", "share": 0.7}, {"kernel": "points", "share": 0.65}],
        "machine": {"gpu": {"name": "H100"}},
        "missed": [],
    }
    (tmp_path / "kernels.json").write_text(json.dumps(report))
    assert parts.kernels(scripted(tmp_path)) == "all aims reached on H100; least: points, 65%"
    (tmp_path / "kernels.json").write_text(json.dumps(report | {"missed": ["points: 50% of the roof"]}))
    with pytest.raises(Unfit, match="aims missed: points: 50% of the roof"):
        parts.kernels(scripted(tmp_path))


def test_the_tests_are_counted(tmp_path: Path) -> None:
    assert (
        parts.tests(scripted(tmp_path, tests="...\n=== 101 passed, 8 skipped in 60 s ===\n")) == "101 passed, 8 skipped"
    )
    with pytest.raises(Unfit, match="no result: nothing collected"):
        parts.tests(scripted(tmp_path, tests="nothing collected\n"))
    with pytest.raises(Lacking, match="109 skipped"):
        parts.tests(scripted(tmp_path, tests="=== 109 skipped in 6 s ===\n"))


@pytest.fixture
def all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "installed_runs", lambda place: list(parts.RUNS))


def test_runtimes_that_are_not_installed_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip-onnx-cpu.json").write_text(json.dumps({"results": [{"fps": 250.4}]}))
    monkeypatch.setattr(parts, "missing", lambda place, names: list(names))
    for part in (parts.clips, parts.systems):
        with pytest.raises(Lacking, match="neither onnxruntime-gpu nor TensorRT is installed"):
            part(scripted(tmp_path))
    monkeypatch.setattr(parts, "missing", lambda place, names: [name for name in names if name != "tensorrt"])
    assert parts.installed_runs(scripted(tmp_path)) == [("onnx", "cpu"), ("tensorrt", "cuda:0")]


@pytest.mark.usefixtures("all_installed")
def test_one_runtime_on_the_gpu_must_track_the_clip(tmp_path: Path) -> None:
    for name in ("onnx-cpu", "onnx-cuda", "tensorrt-cuda"):
        (tmp_path / f"clip-{name}.json").write_text(json.dumps({"results": [{"fps": 250.4}]}))
    no = Unfit("no TensorRT")
    told = parts.clips(scripted(tmp_path, clip_tensorrt_cuda=no))  # the demo's clip, too, is answered for
    assert told == "onnx on cpu: 250 FPS; onnx on cuda:0: 250 FPS; tensorrt on cuda:0: no TensorRT"
    with pytest.raises(Unfit, match="onnx on cuda:0: no CUDA provider; tensorrt on cuda:0: no TensorRT"):
        parts.clips(scripted(tmp_path, clip_onnx_cuda=Unfit("no CUDA provider"), clip_tensorrt_cuda=no))


@pytest.mark.usefixtures("all_installed")
def test_on_the_gpu_the_trained_networks_must_see_a_face_where_they_do_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SYSTEMS", ("chs",))

    def saw(**found: float) -> None:
        for name, share in found.items():
            result = {"fps": 100 if name.endswith("cpu") else 900, "found": share}
            (tmp_path / f"chs-{name.replace('_', '-')}.json").write_text(json.dumps({"results": [result]}))

    saw(onnx_cpu=0.9, onnx_cuda=0.92, tensorrt_cuda=0.9)
    assert parts.systems(scripted(tmp_path)) == "chs: 100 FPS, on the GPU 900"
    no = Unfit("no TensorRT")
    told = "chs, tensorrt on cuda:0: no TensorRT; chs: 100 FPS, on the GPU 900"
    assert parts.systems(scripted(tmp_path, chs_tensorrt_cuda=no)) == told
    with pytest.raises(Unfit, match=r"chs, onnx on cuda:0: no provider; chs, tensorrt on cuda:0: no TensorRT"):
        parts.systems(scripted(tmp_path, chs_onnx_cuda=Unfit("no provider"), chs_tensorrt_cuda=no))
    saw(tensorrt_cuda=0.5)
    with pytest.raises(Unfit, match="chs: a face in 50% of frames, on the CPU in 90%"):
        parts.systems(scripted(tmp_path))


@pytest.mark.timeout(300)
def test_the_commands_that_clips_and_systems_run_are_real(tmp_path: Path) -> None:
    place = Place(tmp_path, sys.executable, monotonic() + 280)
    result = parts._tracked(place, "clip", "onnx", "cpu", frames=10)
    assert result["found"] == 1
    assert result["fps"] > 0


@pytest.mark.parametrize(("required", "summary"), [("", "1 skipped"), ("1", "1 error")])
def test_where_a_gpu_is_required_a_skipped_test_has_failed(required: str, summary: str) -> None:
    test = "tests/gpu/test_kernels_gpu.py::TestKernels::test_no_regions_give_nothing"
    nothing = {"CUDA_VISIBLE_DEVICES": "", "NASION_REQUIRE_GPU": required}  # also where there is one
    command = [sys.executable, "-m", "pytest", "-n", "0", "-rs", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | nothing, capture_output=True, text=True, check=False)
    assert f"= {summary} in " in done.stdout
    assert "no GPU is available" in done.stdout
    assert ("NASION_REQUIRE_GPU=1, but no GPU" in done.stdout) == bool(required)
