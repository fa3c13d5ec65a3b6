"""`fastdiff bench` from the words on the command line to files, on a tiny FLUX with random weights."""

import json
import subprocess
import sys
import textwrap

import pytest

from fastdiffusers_cli.app import app

SMALL = ["--steps", "10", "--runs", "1"]
IDENTITY = "teacache:coefficients=identity"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from fastdiffusers.testing import tiny_flux

    folder = tmp_path_factory.mktemp("bench") / "tiny-flux"
    tiny_flux(folder)
    return str(folder)


@pytest.fixture
def fastdiff(capsys):
    """Run the command; returns exit code, stdout and stderr."""

    def run(*words):
        with pytest.raises(SystemExit) as end:
            app(["bench", *words])
        return end.value.code or 0, *capsys.readouterr()

    return run


def test_teacache_against_plain_sampling_and_its_control(model, fastdiff, tmp_path):
    out = tmp_path / "results" / "report.json"
    arms = ["--accel", f"{IDENTITY}:threshold=100", "--accel", f"{IDENTITY}:threshold=0", "--controls"]
    code, stdout, _ = fastdiff("--model", model, *arms, *SMALL, "--json", "--out", str(out))
    data = json.loads(stdout)
    assert code == 0
    assert json.loads(out.read_text()) == data
    plain, skipping, zero, control = data["rows"]
    assert (plain["accel"], control["accel"]) == ("none", "none@2")
    assert skipping["engaged"] and skipping["computed_steps"] == 2  # the first and the last
    assert skipping["speedup"] > 1.5 and skipping["quality"]["psnr"] > 5 and not skipping["quality"]["identical"]
    assert not zero["engaged"] and zero["quality"]["identical_latents"] and zero["quality"]["psnr"] is None
    assert control["steps"] == 2 and control["control_of"] == f"{IDENTITY}:threshold=100"
    assert plain["latency"]["n"] == 3 and plain["stages"]["denoise"] > plain["stages"]["decode"] > 0
    assert len(data["model"]["sha256"]) == 64 and data["model"]["dtype"] == "float32"
    assert data["machine"]["paddle"].startswith("3.") and data["settings"]["steps"] == 10
    assert plain["peak_memory_mb"] is None or plain["peak_memory_mb"] > 50


def test_a_suite_says_what_to_compare_and_the_command_line_overrides_it(model, fastdiff, tmp_path):
    (tmp_path / "words.txt").write_text("# two\na red apple\n\nthe sun\n")
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"model: {model}\nprompts: words.txt\nsteps: 8\nruns: 2\narms: [none@4]\nseed: 9\n")
    out = tmp_path / "report.md"
    code, stdout, stderr = fastdiff("--suite", str(suite), "--runs", "1", "--out", str(out))
    assert code == 0
    assert "2 prompts × 1 run" in stdout and "8 steps" in stdout and "none@4" in stdout
    assert "wrote" in stderr
    assert "| `none@4` |" in out.read_text() and "a red apple; the sun (seeds 9, 10)" in out.read_text()


def test_a_bare_bench_names_what_it_left_out(model, fastdiff):
    code, stdout, stderr = fastdiff("--model", model, "--steps", "2", "--runs", "1")
    assert code == 0
    assert "comparing" in stderr and "left out: teacache:" in stdout


def test_ctrl_c_prints_the_complete_rounds_and_writes_nothing(model, fastdiff, tmp_path, monkeypatch):
    from fastdiffusers.bench import measure

    timed, calls = measure.Bench._timed, []

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return timed(self, *arguments)

    monkeypatch.setattr(measure.Bench, "_timed", interrupted)
    out = tmp_path / "report.json"
    code, stdout, stderr = fastdiff("--model", model, "--accel", "none@2", *SMALL, "--out", str(out))
    assert code == 130
    assert "PARTIAL: interrupted after 1 of 3 rounds" in stdout and "none@2" in stdout
    assert "interrupted: 1 of 3 rounds were complete" in stderr and "was not written" in stderr
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_bench_goes_on_and_leaves_only_the_report(model, fastdiff, tmp_path, monkeypatch):
    from fastdiffusers.bench import measure

    timed, calls = measure.Bench._timed, []

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return timed(self, *arguments)

    monkeypatch.setattr(measure.Bench, "_timed", interrupted)
    words = ["--model", model, "--accel", "none@2", *SMALL, "--out", str(tmp_path / "report.json"), "--resume"]
    code, _, stderr = fastdiff(*words)
    assert code == 130 and "the same command goes on from there" in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["report.json.rounds"]
    calls.clear()
    monkeypatch.setattr(measure.Bench, "_timed", lambda self, *arguments: calls.append(0) or timed(self, *arguments))
    code, _, _ = fastdiff(*words)
    assert code == 0 and len(calls) == 4  # two of the three rounds
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["settings"]["rounds"] == 3 and data["rows"][1]["latency"]["n"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_replay_plot_and_peers_from_the_command_line(model, fastdiff, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from fastdiffusers.bench import large_model

    monkeypatch.setattr(large_model, "HEADS", 1)
    monkeypatch.setattr(large_model, "SIDE", 2)
    peers = tmp_path / "peers.json"
    peers.write_text('[{"name": "other program", "setting": "its own", "steps": 10, "speedup": 1.5, "psnr": 30.0}]')
    out, plot = tmp_path / "report.md", tmp_path / "plot.png"
    arms = ["--accel", f"{IDENTITY}:threshold=100", "--accel", "none@5"]
    more = ["--replay", "--peers", str(peers), "--plot", str(plot), "--out", str(out)]
    code, stdout, _ = fastdiff("--model", model, *arms, *SMALL, *more)
    page = out.read_text()
    assert code == 0 and "replayed ×" in stdout and "KiB held" in stdout
    assert "| computed | held KiB | replayed speed-up | skipped step there |" in page
    assert "| other program `its own` | 1.50 | 30.0 | – | – | – |" in page
    assert "| 20 % |" in page  # of ten steps the first and the last are computed
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_failed_arm_is_shown_and_makes_the_command_fail(model, fastdiff, monkeypatch):
    from fastdiffusers.caching.loop import CacheLoop

    def broken(self, *arguments):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(CacheLoop, "__call__", broken)
    code, stdout, stderr = fastdiff("--model", model, "--accel", IDENTITY, *SMALL)
    assert code == 2
    assert "FAILED" in stdout and stderr.strip().endswith("RuntimeError: out of luck")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--accel", "nonsense"], "unknown accelerator 'nonsense'"),
        (["--accel", "teacache:treshold=1"], "teacache has no option `treshold`"),
        (["--accel", "teacache"], "'teacache': teacache has no coefficients for tiny-flux"),
        (["--accel", "none@x"], "cannot read the steps 'x'"),
        (["--accel", "none@4", "--accel", "none@4"], "given twice"),
        (["--accel", "none", "--suite", "quick"], "--accel and --suite both say what to compare"),
        (["--suite", "nowhere"], "no suite 'nowhere'"),
        (["--runs", "0"], "runs must be at least 1, got 0"),
        (["--steps", "0"], "--steps 0"),
        (["--guidance", "-1"], "--guidance -1"),
        (["--size", "33x32"], "width 33 is not valid"),
        (["--prompts", "nowhere.txt"], "cannot read the prompts file 'nowhere.txt'"),
        (["--out", "report.xls"], "must end in .json or .md"),
        (["--plot", "plot.pdf"], "--plot 'plot.pdf' must end in .png or .svg"),
        (["--resume"], "--resume keeps the rounds beside the report"),
        (["--features"], "the scorer knows the pictures of flux-emoji, not those of tiny-flux"),
        (["--peers", "nowhere.json"], "cannot read the peers 'nowhere.json'"),
        (["--model", "nowhere"], "no model 'nowhere'"),
        (["--model", ""], "--model '' is empty"),
        (["--dtype", "float8"], "unknown dtype 'float8'; valid: bfloat16"),
        (["--suite", "a" * 300], "no suite 'aaa"),
        (["--suite", "a" * 300 + ".yaml"], "no suite file 'aaa"),
        (["--out", "a" * 300 + ".json"], "too long a name"),
        (["--prompts", "a" * 300], "cannot read the prompts file 'aaa"),
    ],
)
def test_mistakes_are_one_line_and_nothing_runs(model, fastdiff, words, message):
    code, stdout, stderr = fastdiff("--model", model, *words)
    assert code == 2 and stdout == ""
    assert message in stderr and stderr.startswith("error: ") and stderr.count("\n") == 1


def test_the_dtype_is_passed_on_and_reported(model, fastdiff, monkeypatch):
    import fastdiffusers

    asked, load = [], fastdiffusers.load
    monkeypatch.setattr(fastdiffusers, "load", lambda name, dtype: asked.append(dtype) or load(name))
    code, stdout, _ = fastdiff("--model", model, "--accel", "none@1", "--runs", "1", "--steps", "2", "--json")
    assert code == 0 and asked == ["float32"] and json.loads(stdout)["model"]["dtype"] == "float32"
    fastdiff("--model", model, "--accel", "none@1", "--runs", "1", "--steps", "2", "--dtype", "bfloat16")
    assert asked[1:] == ["bfloat16"]


def test_a_dtype_that_this_device_cannot_compute_in_is_one_line(model, fastdiff):
    code, stdout, stderr = fastdiff("--model", model, "--accel", "none", "--dtype", "bfloat16")
    assert code == 2 and stdout == "" and stderr.startswith("error: dtype 'bfloat16'")


def test_a_refused_arm_is_refused_without_importing_paddle(model):
    script = f"""
        import sys
        from fastdiffusers_cli.app import app
        try:
            app(["bench", "--model", {model!r}, "--accel", "{IDENTITY}", "--accel", "teacache"])
        except SystemExit as end:
            print(end.code, "paddle" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.split() == ["2", "False"], done.stderr
