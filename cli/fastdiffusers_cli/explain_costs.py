"""What a run would cost, in words and as data: weights, arithmetic, memory, and seconds on a stated machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastdiffusers.accelerator import Setting
    from fastdiffusers.models.info import ModelInfo
    from fastdiffusers.plan import Plan

FAMILY = "flux"


def costs(plan: Plan, info: ModelInfo, setting: Setting, dtype: str, tflops: float | None) -> dict[str, Any] | None:
    """Costs as JSON can hold them, or None for a family whose arithmetic is not known.

    ``tflops`` is what the machine reaches, 10¹² operations a second: ``latency`` is then the seconds of the
    evaluations, ``latency_with`` those left by the factors of the accelerators, which are multiplied.
    """
    if info.family != FAMILY:
        return None
    from fastdiffusers.costs import BYTES, costs_of

    plain = costs_of(info, setting)
    drawn = costs_of(info, plan.effective or setting)
    kept = [_kept(item, info, drawn.image_tokens, drawn.text_tokens) for item in plan.items]
    vectors = None if None in kept else sum(filter(None, kept))
    branches = 2 if setting.true_cfg_scale > 1 else 1
    elements = None if vectors is None else vectors * _width(info) * setting.batch * branches
    factors = [
        {"name": item.spec.name, "factor": found.value, "source": found.source}
        for item in plan.items
        if (found := item.prediction.factor) is not None
    ]
    unknown = [item.spec.name for item in plan.items if item.prediction.factor is None and not _fewer_steps(item)]
    content: dict[str, Any] = {
        **drawn.to_dict(),
        "dtype": dtype,
        "cache_bytes": None if elements is None else {name: size * elements for name, size in BYTES.items()},
        "factors": factors,
        "factors_unknown": unknown,
    }
    if tflops is not None:
        seconds = drawn.latency(tflops * 1e12)
        for entry in factors:
            seconds /= entry["factor"]
        content |= {"tflops": tflops, "latency": plain.latency(tflops * 1e12), "latency_with": seconds}
    return content


def print_costs(content: dict[str, Any]) -> None:
    """The same as lines."""
    from fastdiffusers.counting import counted
    from fastdiffusers_cli.output import print_pairs

    parameters, dtype = content["parameters"], content["dtype"]
    parts = ", ".join(f"{name} {_short(number)}" for name, number in parameters.items())
    work = f"{counted(content['evaluations'], 'evaluation')} of {_short(content['flops_per_evaluation'])}FLOP"
    pairs = [
        (
            "weights",
            f"{_short(sum(parameters.values()))} ({parts}), {_bytes(content['weights_bytes'][dtype])} in {dtype}",
        ),
        ("tokens", f"{content['image_tokens']} of the image, {content['text_tokens']} of the text"),
        ("work", f"{work}, {_short(content['flops'])}FLOP in all (transformer, products of matrices)"),
        ("memory", f"about {_bytes(content['activations_bytes'][dtype])} of activations in a block"),
    ]
    kept = content["cache_bytes"]
    if kept is None or kept[dtype]:
        text = "not known: it caches modules" if kept is None else f"at most {_bytes(kept[dtype])}"
        pairs.append(("cache", text))
    pairs += [(f"x {one['factor']:.3g}", f"{one['name']}: {one['source']}") for one in content["factors"]]
    if content["factors_unknown"]:
        pairs.append(("x ?", f"{', '.join(content['factors_unknown'])}: depends on the picture, or was never measured"))
    if "latency" in content:
        found = f"{content['latency']:.3g} s plain, {content['latency_with']:.3g} s with these factors"
        pairs.append(("latency", f"{found}, at {content['tflops']:g} TFLOP/s, text and decoding apart"))
    print_pairs(pairs)


def _kept(item: Any, info: ModelInfo, image: int, text: int) -> int | None:
    """Token vectors that an accelerator keeps; 0 for what is no cache of ours, None where it cannot be said."""
    from fastdiffusers.caching.cache import Cache
    from fastdiffusers.caching.footprint import kept_vectors
    from fastdiffusers.caching.stack import stack_of

    if not issubclass(item.spec.load(), Cache):
        return 0
    designs = item.spec.load()(item.config).designs(info)
    return kept_vectors(designs, stack_of(info.family).forms(info.transformer), image, text)


def _fewer_steps(item: Any) -> bool:
    return item.prediction.setting is not None  # the evaluations are counted with its steps


def _width(info: ModelInfo) -> int:
    return int(info.transformer["num_attention_heads"]) * int(info.transformer["attention_head_dim"])


def _short(number: float) -> str:
    for unit, name in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.4g}{name}"
    return f"{number:g} "


def _bytes(number: float) -> str:
    return f"{_short(number)}B"
