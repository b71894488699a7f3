import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from nasion.engines import select, zoo
from nasion.engines.errors import ModelError
from nasion.realtime import sources
from nasion.realtime.sources import Camera
from nasion.tools.commands import doctor as module
from nasion.tools.commands.doctor import Finding, doctor, examine


def named(findings, topic):
    return {finding.name: finding for finding in findings if finding.topic == topic}


def test_everything_is_looked_at():
    findings = examine()
    topics = {finding.topic for finding in findings}
    assert topics >= {"system", "package", "runtime", "model", "GPU", "display", "camera", "codec"}
    assert named(findings, "package")["numpy"].found == metadata.version("numpy")
    assert named(findings, "runtime")["onnx"].state == "ok"
    assert re.match(r"takes \S.* on (cpu|cuda:0): \S", named(findings, "runtime")["auto"].found)
    assert named(findings, "codec")["h264"].state == "ok"
    assert all(finding.remedy for finding in findings if finding.state == "broken")


def test_no_plan_is_built_to_say_what_is_chosen(monkeypatch):
    monkeypatch.setattr(select, "working_runtimes", lambda: [("onnx", "works: 1"), ("tensorrt", "works: 11 on a GPU")])
    monkeypatch.setattr(select, "open_runtime", None)
    (found,) = module._chosen()
    assert found.found == "uses TensorRT on cuda:0: a network's plan is built at its first run"


def test_json_carries_every_finding(capsys, monkeypatch):
    monkeypatch.setattr(module, "examine", lambda: [Finding("system", "Python", "ok", "3.11")])
    doctor(json=Path("-"))
    expected = {"findings": [{"topic": "system", "name": "Python", "state": "ok", "found": "3.11", "remedy": ""}]}
    assert json.loads(capsys.readouterr().out) == expected


def test_the_table_puts_the_remedy_below_and_keeps_brackets(capsys, monkeypatch):
    finding = Finding("package", "pyarrow", "absent", "not installed", "pip install 'nasion[parquet]'")
    monkeypatch.setattr(module, "examine", lambda: [finding])
    doctor()
    printed = capsys.readouterr().out
    assert "not installed" in printed
    assert "→ pip install 'nasion[parquet]'" in printed


def test_only_what_tracking_needs_makes_it_fail(monkeypatch, capsys):
    monkeypatch.setattr(module, "examine", lambda: [Finding("GPU", "NVIDIA", "absent", "none")])
    doctor()
    monkeypatch.setattr(module, "examine", lambda: [Finding("package", "av", "broken", "not installed")])
    with pytest.raises(SystemExit) as end:
        doctor()
    assert end.value.code == 1


def test_a_missing_optional_package_is_named_with_its_extra(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    packages = named(module._packages(), "package")
    assert packages["pyarrow"].state == "absent"
    assert "pip install 'nasion[parquet]'" in packages["pyarrow"].remedy
    assert "pip install 'nasion[train]'" in packages["torch"].remedy


def test_versions_of_all_dependencies_are_printed(capsys, monkeypatch):
    monkeypatch.setattr(module, "examine", lambda: list(module._packages()))
    doctor()
    words = capsys.readouterr().out.split()
    for name in ("numpy", "opencv-python", "av", "pillow", "onnxruntime", "cyclopts"):
        assert words[words.index(name) + 2].startswith(metadata.version(name)[:3])


def test_an_unsupported_version_is_reported_and_hides_no_other_finding(tmp_path, monkeypatch):
    def fails():
        raise TypeError("open() got an unexpected keyword argument")

    (tmp_path / "av-99.0.0.dist-info").mkdir()
    (tmp_path / "av-99.0.0.dist-info" / "METADATA").write_text("Name: av\nVersion: 99.0.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "_codecs", fails)
    findings = examine()
    found = named(findings, "package")["av"]
    assert (found.state, found.found) == ("broken", "av 99.0.0 is installed; supported: av>=17.1,<20")
    assert found.remedy == "pip install 'av>=17.1,<20'"
    assert "unexpected keyword" in findings[-1].found
    assert named(findings, "package")["numpy"].state == "ok"


def test_a_missing_needed_package_is_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    found = module._needed("av", "av")
    assert (found.state, found.remedy) == ("broken", "pip install av")


def test_an_opencv_without_its_libraries_is_broken_with_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    found = module._needed("cv2", "opencv-python")
    assert found.state == "broken"
    assert "apt-get install libgl1" in found.remedy


def test_two_opencv_wheels_are_pointed_out(monkeypatch):
    both = {"cv2": ["opencv-python", "opencv-python-headless"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: both)
    (found,) = module._twice("cv2", "OpenCV", "opencv-python")
    assert "pip uninstall -y opencv-python opencv-python-headless" in found.remedy


def test_a_gpu_is_named_where_there_is_one_and_is_never_required(monkeypatch):
    def smi(*_, **__):
        return subprocess.CompletedProcess([], 0, "NVIDIA L4, 550.1, 23034 MiB\n", "")

    monkeypatch.setattr(subprocess, "run", smi)
    *_, found = module._gpu()
    assert (found.state, found.found) == ("ok", "NVIDIA L4, 550.1, 23034 MiB")

    def no_smi(*_, **__):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", no_smi)
    monkeypatch.setattr("nasion.engines.gpu.driver.LIBRARY", "libnothing.so.1")
    driver, found = module._gpu()
    assert (driver.name, driver.state) == ("CUDA driver", "absent")
    assert driver.found.startswith("no NVIDIA driver: libnothing.so.1")
    assert found.state == "absent"
    assert "CPU" in found.remedy


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
def test_a_missing_display_says_what_to_do(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    (found,) = module._display()
    assert found.state == "absent"
    assert "--show" in found.remedy


def test_a_damaged_model_is_broken(monkeypatch):
    class Card:
        sha256 = "0" * 64

        def check(self):
            raise ModelError("points.onnx: SHA-256 differs")

    monkeypatch.setattr(zoo, "models", lambda: {"points": Card()})
    (found,) = module._models()
    assert (found.state, found.found) == ("broken", "points.onnx: SHA-256 differs")


def test_an_installation_without_models_is_broken(monkeypatch):
    monkeypatch.setattr(zoo, "models", dict)
    (found,) = module._models()
    assert (found.state, found.found) == ("broken", "none shipped")


def test_cameras_are_listed_with_their_sizes(monkeypatch):
    monkeypatch.setattr(sources, "list_cameras", lambda: [Camera(2, 640, 480)])
    (found,) = module._cameras()
    assert (found.name, found.state, found.found) == ("2", "ok", "640x480")


def test_tools_and_libraries_for_the_gpu_are_found_or_missed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("NASION_PLUGINS", str(tmp_path))
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "NvInferVersion.h").write_text(
        "".join(f"#define NV_TENSORRT_{part} {i}\n" for i, part in enumerate(("MAJOR", "MINOR", "PATCH"), 9))
    )
    monkeypatch.setenv("TensorRT_ROOT", str(tmp_path))
    found = named(module._kernels(), "kernels")
    assert found["nvcc"].state == "absent"
    assert "install the CUDA toolkit" in found["nvcc"].remedy
    assert "apt-get install cmake" in found["cmake"].remedy
    assert found["TensorRT headers"].found == f"9.10.11 in {tmp_path / 'include'}"
    assert "run: nasion plugins build" in found["plugins"].found
    (tmp_path / "nvcc").write_text("")
    (tmp_path / "nvcc").chmod(0o755)
    assert named(module._kernels(), "kernels")["nvcc"].state == "ok"


def test_a_check_that_fails_does_not_hide_the_others(monkeypatch):
    def fails():
        raise ImportError("no cameras here")

    fails.__name__ = "_cameras"
    monkeypatch.setattr(module, "_cameras", fails)
    findings = examine()
    assert named(findings, "cameras")["cameras"].found == "no cameras here"
    assert named(findings, "codec")["h264"].state == "ok"


def test_the_plan_cache_is_counted_and_that_of_another_user_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("NASION_PLANS", str(tmp_path / "plans"))
    assert module._plans().found == f"no plans yet in {tmp_path / 'plans'}"
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "points-0.plan").write_bytes(bytes(2_000_000))
    assert module._plans().found == f"1 plans of 2 MB in {tmp_path / 'plans'}"
    monkeypatch.setattr("nasion.engines.tensorrt.plan_cache._is_ours", lambda folder: False)
    found = module._plans()
    assert found.state == "absent"
    assert "NASION_PLANS" in found.found
