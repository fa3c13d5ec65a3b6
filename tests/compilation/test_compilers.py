"""The compilers themselves: the same numbers, programs from disk, adapters and caches around them."""

import json
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from fastdiffusers.compilation.store import MANIFEST, Store
from fastdiffusers.errors import CompileError
from fastdiffusers.files import sha256_file
from fastdiffusers.session import accelerate
from fastdiffusers.testing import check_accelerator

sys.path.insert(0, str(Path(__file__).parents[1] / "distillation"))

ENGINES = ("to-static", "inference", "inference:onednn=on", "cinn")


def off(found, wanted):
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("words", ENGINES)
def test_latents_are_those_of_the_eager_blocks(words, pipe, draw):
    plain = draw()
    with accelerate(pipe, words, steps=10) as session:
        found = draw()
        (record,) = session.report()
    assert off(found, plain) < 1e-4
    assert record.engaged and record.stats["calls"] == 10 and record.stats["greatest_error"] < 1e-4
    assert draw().tobytes() == plain.tobytes()


def test_bfloat16_is_lossy_and_says_so(pipe, draw):
    plain = draw()
    with accelerate(pipe, "inference:dtype=bfloat16", steps=10) as session:
        found = draw()
        (record,) = session.report()
    assert 1e-5 < off(found, plain) < 0.2
    assert record.engaged and record.fidelity == "lossy" and "bfloat16" in record.effect


@pytest.mark.parametrize("words", ["to-static", "inference"])
def test_a_later_start_takes_programs_from_disk(words, pipe, draw):
    Store().clear()
    with accelerate(pipe, words, steps=10) as session:
        first = draw()
        stats = session.report()[0].stats
    assert (stats["compiled"], stats["loaded"]) == (1, 0) and stats["compile_s"] > 0
    with accelerate(pipe, words, steps=10) as session:
        again = draw()
        stats = session.report()[0].stats
    assert (stats["compiled"], stats["loaded"]) == (0, 1) and stats["load_s"] > 0
    assert again.tobytes() == first.tobytes()


def test_a_damaged_program_is_made_anew(pipe, draw):
    Store().clear()
    with accelerate(pipe, "inference", steps=10):
        draw()
    (entry,) = Store().entries()
    (entry.folder / "program.pdiparams").write_bytes(b"nothing")
    with accelerate(pipe, "inference", steps=10) as session:
        draw()
        (record,) = session.report()
    assert record.engaged and record.stats["compiled"] == 1 and "damaged" in record.effect


def test_a_program_that_paddle_cannot_read_is_made_anew(pipe, draw):
    Store().clear()
    with accelerate(pipe, "inference", steps=10):
        draw()
    (entry,) = Store().entries()
    for name in ("program.json", "program.pdiparams"):
        (entry.folder / name).write_bytes(b"{}")
    manifest = json.loads((entry.folder / MANIFEST).read_text())
    manifest["files"] = {name: [2, sha256_file(entry.folder / name)] for name in manifest["files"]}
    (entry.folder / MANIFEST).write_text(json.dumps(manifest))
    with accelerate(pipe, "inference", steps=10) as session:
        draw()
        (record,) = session.report()
    assert record.engaged and record.stats["compiled"] == 1 and "could not be read" in record.effect


def test_a_folder_that_cannot_be_written_is_said_and_no_failure(pipe, draw, monkeypatch, tmp_path):
    (tmp_path / "compiled").write_text("in the way")
    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path))
    with accelerate(pipe, "inference", steps=10) as session:
        draw()
        (record,) = session.report()
    assert record.engaged and "not kept: cannot write" in record.effect


@pytest.mark.parametrize("words", ["to-static:dynamic=true", "inference:dynamic=true"])
def test_one_dynamic_program_serves_two_sizes_and_two_batches(words, pipe, draw):
    calls = [{}, {"height": 64}, {"num_images_per_prompt": 2}, {"height": 64, "num_images_per_prompt": 2}]
    plain = [draw(**changes) for changes in calls]
    with accelerate(pipe, words, steps=10) as session:
        found = [draw(**changes) for changes in calls]
        stats = session.report()[0].stats
    assert stats["programs"] == 1 and stats["compiled"] + stats["loaded"] == 1
    assert all(off(a, b) < 1e-4 for a, b in zip(found, plain, strict=True))


def test_two_sizes_and_two_batches_are_compiled_once_each_and_for_good(pipe, draw):
    Store().clear()
    calls = [{}, {"height": 64}, {"num_images_per_prompt": 2}]
    for wanted in ((3, 0), (0, 3)):
        with accelerate(pipe, "inference", steps=10) as session:
            for changes in [*calls, *calls]:
                draw(**changes)
            stats = session.report()[0].stats
        assert (stats["compiled"], stats["loaded"]) == wanted


@pytest.mark.parametrize(
    "cache",
    ["teacache:threshold=0.4:coefficients=identity", "fbcache:threshold=2", "taylorseer:interval=3"],
)
def test_under_a_cache_the_steps_are_the_same_and_so_are_the_latents(cache, pipe, draw):
    with accelerate(pipe, cache, steps=10) as session:
        plain = draw()
        eager = session.report()[0].stats
    with accelerate(pipe, f"inference,{cache}", steps=10) as session:
        found = draw()
        inner, outer = session.report()
    assert inner.engaged and outer.engaged
    assert outer.stats["pattern"] == eager["pattern"] and set(".o") & set(eager["pattern"])
    assert inner.stats["calls"] < 10 * inner.stats["programs"]
    assert off(found, plain) < 1e-3


def test_an_adapter_is_merged_before_and_compiled_with_a_cache_around(pipe, draw, tmp_path):
    from adapters import make_adapter

    folder = make_adapter(tmp_path / "adapter", pipe, steps=4)
    words = f"pcm:adapter={folder}"
    plain, few = draw(), {"num_inference_steps": None}
    with accelerate(pipe, words):
        adapted = draw(**few)
    with accelerate(pipe, f"teacache:force=true:coefficients=identity,inference,{words}") as session:
        found = draw(**few)
        names = [record.name for record in session.report()]
        stats = session.report()[1].stats
    assert names == ["pcm", "inference", "teacache"]
    assert stats["calls"] >= 1
    with accelerate(pipe, f"inference,{words}") as session:
        found = draw(**few)
        assert session.report()[1].stats["calls"] == 4
    assert off(found, adapted) < 1e-4 < off(draw(**few), adapted)
    assert draw().tobytes() == plain.tobytes()


def test_changed_weights_are_never_answered_from_disk(pipe, draw):
    layer = pipe.transformer.transformer_blocks[0].ff.net[2]
    saved = layer.weight.numpy().copy()
    try:
        with accelerate(pipe, "inference", steps=10) as session:
            draw()
            layer.weight.set_value(saved + 0.2)
            found = draw()
            assert session.report()[0].engaged
        wanted = draw()
    finally:
        layer.weight.set_value(saved)
    assert off(found, wanted) < 1e-4


def test_true_guidance_runs_both_branches_through_the_program(pipe, draw):
    guided = {"negative_prompt": "a house", "true_cfg_scale": 3.0}
    plain = draw(**guided)
    with accelerate(pipe, "inference", steps=10) as session:
        found = draw(**guided)
        assert session.report()[0].stats["calls"] == 20
    assert off(found, plain) < 1e-4


def test_cinn_that_is_asked_for_by_name_is_refused_without_it():
    from fastdiffusers_compile.cinn import CinnEngine

    engine = CinnEngine("float32")
    with pytest.raises(CompileError, match=r"lacks CINN compiled in.*install paddlepaddle-gpu") as caught:
        engine.require()
    assert "\n" not in str(caught.value)
    assert set(engine.flags) <= {
        "FLAGS_use_cinn",
        "FLAGS_prim_enable_dynamic",
        "FLAGS_prim_all",
        "FLAGS_use_cuda_managed_memory",
    }


@pytest.mark.parametrize(("value", "told"), [("False", True), ("1", False), (None, False)])
def test_paddles_own_switch_for_cinn_is_seen(value, told, monkeypatch):
    from fastdiffusers_compile.cinn import CinnEngine

    if value is None:
        monkeypatch.delenv("ENABLE_CINN_IN_DY2ST", raising=False)
    else:
        monkeypatch.setenv("ENABLE_CINN_IN_DY2ST", value)
    with pytest.raises(CompileError) as caught:
        CinnEngine("float32").require()
    assert ("ENABLE_CINN_IN_DY2ST left unset" in str(caught.value)) is told


def test_paddles_time_limits_of_compilation_do_not_reach_what_is_traced(pipe):
    """They belong to its other tracer, which goes on eagerly in silence; what is traced here is a full graph."""
    from paddle.jit.dy2static.program_translator import ASTStaticFunction

    from fastdiffusers.compilation.segment import Arguments, WholeSegment
    from fastdiffusers_compile.cinn import CinnEngine

    latents = paddle.randn([1, pipe.vae.config.latent_channels, 4, 4])
    segment = WholeSegment("decoder", pipe.vae.decoder, pipe.vae.decoder.forward, Arguments((latents,), ()))
    built = CinnEngine("float32").build(segment, None)
    (static,) = (cell.cell_contents for cell in built.groups.__closure__)
    assert isinstance(static, ASTStaticFunction)


def test_a_cinn_program_without_groups_counts_as_a_fall_back(pipe, draw, monkeypatch):
    """The path of a GPU as far as a CPU goes: Paddle falls back in silence, and that is found out."""
    from fastdiffusers_compile import choice, cinn, compilers
    from fastdiffusers_compile.build_info import PaddleBuild

    monkeypatch.setattr(cinn.CinnEngine, "require", lambda self: None)
    monkeypatch.setattr(compilers, "paddle_build", lambda: PaddleBuild("3.3.1", True, True))
    monkeypatch.setattr(choice, "paddle_build", lambda: PaddleBuild("3.3.1", True, True))
    with accelerate(pipe, "cinn:engine=cinn", steps=10), pytest.raises(CompileError, match="without CINN after all"):
        draw()
    plain = draw()
    with accelerate(pipe, "cinn:engine=cinn:fallback=eager", steps=10) as session:
        found = draw()
        (record,) = session.report()
    assert found.tobytes() == plain.tobytes() and not record.engaged and "FELL BACK" in record.reason
    monkeypatch.setattr(cinn, "GROUPS", ("pd_op.matmul",))  # as if products were groups
    with accelerate(pipe, "cinn:engine=cinn", steps=10) as session:
        found = draw()
        (record,) = session.report()
    assert record.engaged and record.stats["fused_groups"] > 10 and off(found, plain) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cinn", "inference", "to-static"])
def test_the_contract_is_kept(name):
    assert check_accelerator(name).record.engaged


@pytest.mark.slow
@pytest.mark.parametrize("words", ["inference", "inference:onednn=on", "to-static"])
def test_the_embedded_model_is_at_parity(words):
    import fastdiffusers

    pipe = fastdiffusers.load("flux-emoji")
    given = {"prompt": "a red apple", "seed": 1, "num_inference_steps": 4, "output_type": "latent"}
    plain = pipe(**given).latents
    with accelerate(pipe, words, steps=4) as session:
        found = pipe(**given).latents
        assert session.report()[0].engaged
    assert off(found, plain) < 1e-4
    assert pipe(**given).latents.tobytes() == plain.tobytes()
