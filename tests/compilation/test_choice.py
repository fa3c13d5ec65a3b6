"""Which engine is chosen, in words, and what a plan refuses: without Paddle."""

import pytest

from fastdiffusers.compilation.whole import WholeNetwork, chosen_parts
from fastdiffusers.errors import PlanError
from fastdiffusers.models.info import describe
from fastdiffusers.plan import make_plan
from fastdiffusers.plugins import registry
from fastdiffusers.request import parse
from fastdiffusers_compile import choice
from fastdiffusers_compile.build_info import PaddleBuild, paddle_build
from fastdiffusers_compile.options import CompileConfig

CPU, GPU = PaddleBuild("3.3.1", False, False), PaddleBuild("3.3.1", True, True)
GPU_PLAIN = PaddleBuild("3.3.1", True, False)


@pytest.mark.parametrize(
    ("build", "gpu", "engine", "words"),
    [
        (CPU, False, "inference", "this is Paddle 3.3.1 for CPUs, built without CINN"),
        (GPU, True, "cinn", "has CINN and computes on a GPU"),
        (GPU, False, "inference", "cannot run on a CPU"),
        (GPU_PLAIN, True, "static", "built without CINN"),
        (None, False, "inference", "no Paddle is installed"),
    ],
)
def test_auto_takes_cinn_where_it_runs_and_says_why_not_elsewhere(build, gpu, engine, words):
    found, why = choice.choose("auto", build, gpu)
    assert found == engine and words in why


def test_what_is_asked_for_is_taken():
    assert choice.choose("static", CPU, False) == ("static", "engine as asked")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("cinn:engine=cinn", "engine=cinn needs a Paddle with CINN and a GPU, this is Paddle 3.3.1 for CPUs"),
        ("cinn:engine=static:dtype=bfloat16", "no bfloat16 kernels for a static graph on a CPU; use engine=inference"),
        ("inference:dtype=bfloat16:dynamic=true", "fails in oneDNN; leave one of them out"),
        ("cinn:engine=inference:dtype=bfloat16:onednn=off", "dtype=bfloat16 is oneDNN's"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_by_the_plan(words, message, monkeypatch):
    monkeypatch.setattr(choice, "paddle_build", lambda: CPU)
    info = describe("flux-emoji")
    plan = make_plan(parse(words), registry(), info, info.default_setting)
    with pytest.raises(PlanError, match=message) as caught:
        plan.check()
    assert "\n" not in str(caught.value)


def test_a_plan_tells_the_engine_and_that_bfloat16_is_lossy(monkeypatch):
    monkeypatch.setattr(choice, "paddle_build", lambda: CPU)
    info = describe("flux-emoji")
    (item,) = make_plan(parse("cinn"), registry(), info, info.default_setting).items
    assert (
        item.prediction.effect == "Paddle Inference runs the blocks and the VAE's decoder"
        and item.fidelity.value == "numeric"
    )
    (item,) = make_plan(parse("cinn:dtype=bfloat16"), registry(), info, info.default_setting).items
    assert "bfloat16" in item.prediction.effect and item.to_dict()["fidelity"] == "lossy"


def test_a_plan_tells_which_parts_and_refuses_what_a_family_does_not_have(monkeypatch):
    monkeypatch.setattr(choice, "paddle_build", lambda: CPU)
    info = describe("flux-emoji")

    def effect(words):
        plan = make_plan(parse(words), registry(), info, info.default_setting)
        plan.check()
        return plan.items[0].prediction.effect

    assert effect("inference:parts=transformer") == "Paddle Inference runs the blocks"
    assert effect("to-static") == "Paddle's static graph runs the blocks"
    assert effect("cinn:parts=vae/text").endswith("runs the VAE's decoder and the CLIP text encoder and the T5 encoder")
    with pytest.raises(PlanError, match="parts=auto/vae: auto chooses for itself"):
        effect("inference:parts=auto/vae")
    with pytest.raises(PlanError, match=r"one of: auto, transformer, vae, text, got 'unet'"):
        effect("inference:parts=unet")
    with pytest.raises(PlanError, match=r"no text to compile; valid: transformer, vae$"):
        chosen_parts(CompileConfig(parts=("text",)), {"vae": (WholeNetwork("a decoder", "vae.decoder"),)}, ())
    with pytest.raises(PlanError, match="parts is empty"):
        chosen_parts(CompileConfig(parts=()), {}, ())
    with pytest.raises(PlanError, match="dtype=bfloat16 is for the transformer's blocks, which parts=vae leaves alone"):
        effect("inference:parts=vae:dtype=bfloat16")


def test_the_installed_paddle_is_described_as_it_describes_itself():
    import paddle

    build = paddle_build()
    assert build is not None and build.version == paddle.version.full_version
    assert build.cinn == paddle.is_compiled_with_cinn() and build.cuda == paddle.is_compiled_with_cuda()
