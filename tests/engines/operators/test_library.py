"""Building, finding and loading the compiled parts; the plugins as TensorRT would call them."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nasion.engines.errors import NasionError, RuntimeUnavailable
from nasion.engines.operators import library as plugins
from nasion.engines.operators.library import KINDS, build, built, default_folder, locate, tensorrt_headers
from nasion.tools.main import main as nasion

from ...conftest import ROOT
from ...support.operators import native

# whichever test compiles the kernels first waits for them: a minute, and much longer on a busy machine
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that nasion takes for its own, with a build of the references."""
    done = native.build(cuda=False)
    for path in done.folder.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    monkeypatch.setenv(plugins.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def rewrite(folder: Path, **changes: object) -> None:
    record = folder / "native.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))


# --- find


def test_what_was_built_is_found_with_what_was_left_out(libraries: Path) -> None:
    found = built()
    assert found is not None
    assert (found.folder, found.stale, set(found.libraries)) == (libraries, False, {"reference"})
    assert found.skipped == {"kernels": "NASION_CUDA is off", "plugins": "they need the kernels"}
    assert found.compiler
    assert locate("reference").parent == libraries


def test_a_library_that_was_left_out_says_why_and_what_to_do(libraries: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="kernels library was not built: NASION_CUDA is off; then run: nasion"):
        locate("kernels")


def test_before_any_build_it_says_how_to_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugins.FOLDER_VARIABLE, str(tmp_path / "nothing"))
    assert built() is None
    with pytest.raises(RuntimeUnavailable, match=r"is not built in .*nothing; run: nasion plugins build"):
        locate("plugins")


def test_libraries_of_other_sources_are_not_taken(libraries: Path) -> None:
    rewrite(libraries, sources="0" * 64)
    with pytest.raises(RuntimeUnavailable, match="built from other sources than this nasion; run: nasion plugins"):
        locate("reference")
    with pytest.raises(SystemExit) as end:
        nasion(["plugins", "where"])
    assert "the built libraries are of other sources" in str(end.value.code)


def test_a_library_whose_file_is_gone_is_missed(libraries: Path) -> None:
    locate("reference").unlink()
    with pytest.raises(RuntimeUnavailable, match="reference library was not built: its file is missing"):
        locate("reference")


@pytest.mark.parametrize("text", ["", "[]", '{"built": 3}', '{"built": ["reference"]}'])
def test_a_damaged_record_is_named(libraries: Path, text: str) -> None:
    (libraries / "native.json").write_text(text)
    with pytest.raises(NasionError, match=r"native.json is damaged .* build again with: nasion plugins build"):
        built()


def test_a_library_that_cannot_be_loaded_is_an_error_to_fix(tmp_path: Path) -> None:
    (tmp_path / "broken.so").write_bytes(b"no library")
    with pytest.raises(RuntimeUnavailable, match=r"broken.so cannot be loaded .* nasion plugins build"):
        plugins.load(tmp_path / "broken.so")


def test_an_unknown_library_lists_those_there_are() -> None:
    with pytest.raises(RuntimeUnavailable, match="'engine' is unknown; allowed: reference, kernels, plugins"):
        locate("engine")  # type: ignore[arg-type]


def test_the_default_folder_goes_by_the_hash_of_the_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(plugins.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    before = default_folder()
    assert before.is_relative_to(tmp_path)
    copy = tmp_path / "sources"
    shutil.copytree(plugins.SOURCES, copy)
    monkeypatch.setattr(plugins, "SOURCES", copy)
    assert default_folder() == before
    (copy / "crop" / "crop.cu").write_text("// other")
    assert default_folder() != before


# --- build


def test_a_missing_tool_is_named_with_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(NasionError, match=r"needs cmake \(pip install cmake.* and a C\+\+ compiler \(apt-get"):
        build(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    native.build(cuda=False)  # says so where there are no tools
    (tmp_path / "file").write_text("")
    with pytest.raises(NasionError, match=r"cannot be written .* give another folder with --out"):
        build(tmp_path / "file", cuda=False)


def test_what_a_compiler_says_is_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native.build(cuda=False)
    sources = tmp_path / "sources"
    shutil.copytree(plugins.SOURCES, sources)
    (sources / "common" / "status.cpp").write_text("#error this cannot be\n")
    monkeypatch.setattr(plugins, "SOURCES", sources)
    with pytest.raises(NasionError, match=r"cmake --build failed:(.|\n)*this cannot be"):
        build(tmp_path / "out", cuda=False)


def test_a_tree_that_was_configured_for_other_sources_is_configured_again(tmp_path: Path) -> None:
    native.build(cuda=False)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "CMakeCache.txt").write_text("CMAKE_HOME_DIRECTORY:INTERNAL=/somewhere/else\n")
    assert set(build(tmp_path, cuda=False).libraries) == {"reference"}


def test_the_command_builds_in_the_folder_given_and_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    native.build(cuda=False)
    with pytest.raises(SystemExit) as end:
        nasion(["plugins", "build", "--no-cuda", "--out", str(tmp_path)])
    assert end.value.code in (0, None)
    printed = capsys.readouterr().out
    assert f"reference  {tmp_path}" in printed
    assert "kernels    skipped: NASION_CUDA is off" in printed
    assert f"set {plugins.FOLDER_VARIABLE}={tmp_path}" in printed
    monkeypatch.setenv(plugins.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(SystemExit) as end:
        nasion(["plugins", "where"])
    assert end.value.code in (0, None)
    assert f"reference  {tmp_path}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        nasion(["plugins", "build", "--jobs", "0"])
    assert "--jobs is 0; it must be at least 1" in str(end.value.code)
    with pytest.raises(SystemExit) as end:
        nasion(["plugins", "build", "--tensorrt", str(tmp_path / "nowhere")])
    assert "nowhere holds no include/NvInferVersion.h" in str(end.value.code)


def test_the_kernels_are_compiled_for_every_gpu_from_turing_on() -> None:
    done = native.build(cuda=True)
    assert {"reference", "kernels"} <= set(done.libraries)
    wanted = "75-real 80-real 86-real 89-real 90" + (" 120" if float(done.cuda[:4]) >= 12.8 else "")
    assert done.architectures == wanted
    library = ctypes.CDLL(str(done.libraries["kernels"]))
    for name in ("multi_level_roi_align", "location_reweight", "crop"):
        assert getattr(library, f"nasion_{name}")


def test_an_installed_wheel_builds_and_loads_its_own_libraries(tmp_path: Path) -> None:
    """Nothing is compiled by pip, even where there are compilers; the sources come along."""
    native.build(cuda=False)
    site = tmp_path / "site"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site), str(ROOT)]
    subprocess.run([sys.executable, *install], check=True)
    installed = site / "nasion" / "engines" / "operators" / "cuda"
    assert not [path for suffix in ("so", "o", "a") for path in site.rglob(f"*.{suffix}")]
    names = {path.relative_to(plugins.SOURCES) for path in plugins.SOURCES.rglob("*")}
    assert names <= {path.relative_to(installed) for path in installed.rglob("*")}
    # -S: an editable installation of this checkout would be imported instead
    packages = os.pathsep.join([str(site), *(path for path in sys.path if path.endswith("-packages"))])
    environment = {**os.environ, "PYTHONPATH": packages, plugins.FOLDER_VARIABLE: str(tmp_path / "built")}
    cuda = ["--architectures", "90-real"] if shutil.which("nvcc") else ["--no-cuda"]  # one, because it is quicker
    script = (
        "from nasion.engines.operators import bindings, library\n"
        "from nasion.tools.main import main\n"
        f"try: main(['plugins', 'build', *{cuda!r}])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "for kind, path in library.built().libraries.items():\n"
        "    print('loaded', kind, library.load(path)._name)\n"
        "    bindings.Kernels(path) if kind != 'plugins' else None\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("loaded")]
    wanted = list(KINDS[: 1 if cuda == ["--no-cuda"] else 2 if tensorrt_headers() is None else 3])
    assert [kind for kind, _ in loaded] == wanted
    assert {str(Path(path).parent) for _, path in loaded} == {str(tmp_path / "built")}
    assert str(installed) in (tmp_path / "built" / "tree" / "CMakeCache.txt").read_text()


def test_the_cmakelists_at_the_top_adds_that_of_the_libraries(tmp_path: Path) -> None:
    native.build(cuda=False)
    for step in (["-S", str(ROOT), "-B", str(tmp_path), "-DNASION_CUDA=OFF"], ["--build", str(tmp_path)]):
        subprocess.run(["cmake", *step], check=True, capture_output=True)
    assert list(tmp_path.rglob("libnasion_reference*"))


# --- TensorRT's headers


def header(folder: Path, text: str) -> Path:
    (folder / "include").mkdir(parents=True)
    (folder / "include" / "NvInferVersion.h").write_text(text)
    return folder


def test_the_version_of_the_headers_is_read_in_both_spellings(tmp_path: Path) -> None:
    old = "#define NV_TENSORRT_MAJOR 10 //!< major\n#define NV_TENSORRT_MINOR 7\n#define NV_TENSORRT_PATCH 0\n"
    new = (
        "#define TRT_MAJOR_ENTERPRISE 11\n#define TRT_MINOR_ENTERPRISE 1\n#define TRT_PATCH_ENTERPRISE 0\n"
        "#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE\n"
    )
    assert tensorrt_headers(header(tmp_path / "old", old)) == (tmp_path / "old" / "include", "10.7.0")
    assert tensorrt_headers(header(tmp_path / "new", new)) == (tmp_path / "new" / "include", "11.1.0")


def test_headers_that_are_too_old_are_not_used(tmp_path: Path) -> None:
    native.build(cuda=True)  # says so where there is no nvcc
    text = "".join(
        f"#define NV_TENSORRT_{part} {number}\n" for part, number in (("MAJOR", 8), ("MINOR", 6), ("PATCH", 1))
    )
    root = header(tmp_path / "old", text)
    (root / "include" / "NvInferRuntime.h").write_text("")
    command = ["cmake", "-S", str(plugins.SOURCES), "-B", str(tmp_path / "tree"), f"-DTensorRT_ROOT={root}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "skips plugins: the headers in" in said
    assert "are of TensorRT 8.6.1; 10.7 or newer is needed" in said


# --- the plugins, called as TensorRT would


@pytest.fixture(scope="module")
def plugin_library() -> Path:
    if tensorrt_headers() is None:
        pytest.skip("TensorRT's headers are not here; set TensorRT_ROOT to the folder that holds their include")
    done = native.build(cuda=True)
    assert "plugins" in done.libraries, done.skipped
    return done.libraries["plugins"]


def call(library: Path, plugin: str, *words: str) -> subprocess.CompletedProcess[str]:
    harness = library.parent / "nasion_harness"
    return subprocess.run([harness, library, plugin, *words], capture_output=True, text=True, check=False)


ROI_ALIGN = ("scales=0.25,0.125", "output_size=14", "sampling_ratio=2", "normalize=1", "epsilon=1e-12")
NODE = ("plugin_namespace=nasion", "plugin_version=v1")


@pytest.mark.parametrize(
    ("layout", "kind"),
    [("linear", "float32"), ("linear", "float16"), ("hwc8", "float16"), ("hwc", "float32")],
)
def test_regions_are_planned_with_types_shapes_and_formats(plugin_library: Path, layout: str, kind: str) -> None:
    maps = (f"{kind}:2x64x56x56:{layout}", f"{kind}:2x128x28x28:{layout}")
    done = call(plugin_library, "MultiLevelRoIAlign", *ROI_ALIGN, *NODE, "--", *maps, "float32:3x5")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert f"output {kind}:3x192x14x14" in lines
    assert "workspace 0" in lines
    assert "timed as scales 0.25 0.125 output_size 14 sampling_ratio 2 normalize 1 epsilon 9.99999996e-13" in lines
    fields = {line.split()[1]: line.split()[2:] for line in lines if line.startswith("field")}
    assert fields == {
        "scales": ["0.25", "0.125"],
        "output_size": ["14"],
        "sampling_ratio": ["2"],
        "normalize": ["1"],
        "epsilon": ["1e-12"],
    }


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_points_are_planned_as_float32(plugin_library: Path, kind: str) -> None:
    done = call(plugin_library, "LocationReweight", "threshold=0.4", *NODE, "--", f"{kind}:8x68x120x120")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {"output float32:8x68x2", "output float32:8x68", "field threshold 0.4"} <= set(lines)


@pytest.mark.parametrize(
    ("attributes", "tensors", "text"),
    [
        ((), "", "attribute scales is missing"),
        (("scales=0.25,-1.0",), "", "attribute scales has -1; allowed: above 0, finite"),
        (("scales=nan,1.0",), "", "attribute scales has nan; allowed: above 0, finite"),
        (("scales=4",), "", "attribute scales is 1 x int32; give 1 to 16 floats"),
        ((f"scales={','.join(['0.5'] * 17)}",), "", "attribute scales is 17 x float32; give 1 to 16 floats"),
        (("scales=0.25",), "", "attribute output_size is missing; allowed: 1 to 64"),
        (("scales=0.25", "output_size=65"), "", "attribute output_size is 65; allowed: 1 to 64"),
        (("scales=0.25", "output_size=seven"), "", "attribute output_size is 6 x text; give one int"),
        (("scales=0.25", "output_size=7", "sampling_ratio=0"), "", "sampling_ratio is 0; allowed: 1 to 4"),
        (("scales=0.25", "output_size=7", "normalize=2"), "", "normalize is 2; allowed: 0 to 1"),
        (("scales=0.25", "output_size=7", "epsilon=0.0"), "", "attribute epsilon has 0; allowed: above 0"),
        (("scales=0.25", "output_size=7"), "float32:1x4x8x8", "1 inputs for 1 scales; give one map for each scale"),
        (("scales=0.25", "output_size=7"), "int32:1x4x8x8 float32:1x5", "map 0 holds int32; allowed: float32, float16"),
        (("scales=0.25", "output_size=7"), "float16:1x4x8x8 float16:1x5", "rois hold float16; allowed: float32"),
        (("scales=0.5,0.25", "output_size=7"), "float16:1x4x8x8 float32:1x4x4x4 float32:1x5", "map 1 holds float32"),
        (("scales=0.25", "output_size=7"), "float32:4x8x8 float32:1x5", "map 0 has rank 3; give 4: batch, channels"),
        (("scales=0.25", "output_size=7"), "float32:1x4x8x8 float32:5", "rois has rank 1; give 2: regions, 5"),
        (("scales=0.25", "output_size=7"), "float32:1x4x8x8 float32:2x4", "rois have 4 columns; give 5: image index"),
        (("scales=0.25", "output_size=7"), "float32:1x4x8x8 float32:65536x5", "65536 regions; at most 65535"),
    ],
)
def test_regions_that_cannot_be_planned_are_refused_in_words(
    plugin_library: Path, attributes: tuple[str, ...], tensors: str, text: str
) -> None:
    words = tensors.split() or ["float32:1x4x8x8", "float32:1x5"]
    done = call(plugin_library, "MultiLevelRoIAlign", *attributes, "--", *words)
    assert done.returncode == 1
    assert done.stderr.startswith("nasion::MultiLevelRoIAlign: ")
    assert text in done.stderr


@pytest.mark.parametrize(
    ("attribute", "tensor", "text"),
    [
        ("threshold=0.0", "float32:1x2x8x8", "attribute threshold has 0; allowed: above 0, finite"),
        ("threshold=1", "float32:1x2x8x8", "attribute threshold is 1 x int32; give one float"),
        ("threshold=0.5", "int32:1x2x8x8", "maps hold int32; allowed: float32, float16"),
        ("threshold=0.5", "float32:2x8x8", "maps have rank 3; give 4: regions, points, height, width"),
    ],
)
def test_maps_that_cannot_be_planned_are_refused_in_words(
    plugin_library: Path, attribute: str, tensor: str, text: str
) -> None:
    done = call(plugin_library, "LocationReweight", attribute, "--", tensor)
    assert done.returncode == 1
    assert f"nasion::LocationReweight: {text}" in done.stderr


@pytest.mark.parametrize("maps", ["float16:1x12x8x8:hwc8", "float32:1x6x8x8:hwc", "float32:1x8x8x8:hwc8"])
def test_a_layout_that_the_kernel_cannot_read_is_refused(plugin_library: Path, maps: str) -> None:
    done = call(plugin_library, "MultiLevelRoIAlign", "scales=0.25", "output_size=7", "--", maps, "float32:1x5")
    assert done.returncode == 1
    assert "the format of tensor 0 was refused" in done.stderr


def test_the_library_needs_nothing_of_tensorrt(plugin_library: Path) -> None:
    """One file then serves TensorRT, its lean and dispatch runtimes and TensorRT-RTX."""
    listed = subprocess.run(["nm", "-D", plugin_library], capture_output=True, text=True, check=True).stdout
    undefined = [line.split()[-1] for line in listed.splitlines() if " U " in line]
    assert undefined
    assert not [name for name in undefined if "nvinfer" in name.lower() or "plugin" in name.lower() or "cuda" in name]
    exported = {line.split()[-1] for line in listed.splitlines() if " T " in line}
    assert {"getCreators", "setLoggerFinder"} <= exported
    assert "getPluginCreators" not in exported


def test_every_kind_of_library_is_one_that_cmake_builds() -> None:
    text = (plugins.SOURCES / "CMakeLists.txt").read_text()
    for kind in KINDS:
        assert f"nasion_{kind} SHARED" in text
