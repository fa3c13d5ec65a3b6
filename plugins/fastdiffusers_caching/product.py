"""Any product of scope × indicator × estimator, without a preset for it: ``cache:scope=…:indicator=…:estimator=…``.

The parts are those of the presets. An option that means nothing for the parts that were chosen is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastdiffusers.accelerator import Prediction, Setting
from fastdiffusers.caching.cache import Cache
from fastdiffusers.caching.design import Design, Rules
from fastdiffusers.caching.estimators import OUTPUT, RESIDUAL, SIGMA, STEP, Newton, Reuse, Taylor
from fastdiffusers.caching.indicators import FirstBlocks, Indicator, Interval, Mask, ProbeChange
from fastdiffusers.caching.preset import effective_steps, predict_cache, preset
from fastdiffusers.caching.scopes import Between, Blocks, Cut, Modules, Scope, Stack
from fastdiffusers.errors import InputError
from fastdiffusers.models.info import ModelInfo
from fastdiffusers_caching.magnitude import MagnitudeDrift, kept_magnitudes
from fastdiffusers_caching.masks import check_steps, read_schedule
from fastdiffusers_caching.options import force, interval, option, threshold
from fastdiffusers_caching.polynomial import choose
from fastdiffusers_caching.ranking import SortBlock
from fastdiffusers_caching.spectral import spectral_filter

# indicators with a threshold, and its default: that of the preset
THRESHOLDS = {"probe": 0.3, "teacache": 0.25, "seacache": 0.3, "firstblock": 0.08, "magcache": 0.24}
INDICATORS = (*THRESHOLDS, "interval", "sortblock", "static")
FORECASTS = ("taylor", "newton")
# option → the part it belongs to, and with which choices of that part it means something
MEANINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "first": ("scope", ("fnbn", "blocks")),
    "last": ("scope", ("fnbn",)),
    "cut": ("scope", ("cut",)),
    "modules": ("scope", ("module",)),
    "threshold": ("indicator", tuple(THRESHOLDS)),
    "coefficients": ("indicator", ("teacache",)),
    "interval": ("indicator", ("interval", "sortblock")),
    "beta": ("indicator", ("sortblock",)),
    "mask": ("indicator", ("static",)),
    "order": ("estimator", FORECASTS),
    "of": ("estimator", FORECASTS),
    "nodes": ("estimator", FORECASTS),
    "damping": ("estimator", FORECASTS),
}


@dataclass(frozen=True)
class ProductConfig:
    """Options of ``cache``: the three parts, what each of them takes, and the rules."""

    scope: str = option("stack", "where work is left out", choices=("stack", "fnbn", "blocks", "cut", "module"))
    indicator: str = option("seacache", "when it is", choices=INDICATORS)
    estimator: str = option("residual", "what stands in", choices=("residual", "output", *FORECASTS))
    first: int | None = option(None, "fnbn: Fn, blocks run first (1); blocks: first of each list to skip (0)", min=0)
    last: int | None = option(None, "fnbn: Bn, blocks always run at the end (0)", min=0)
    cut: int | None = option(None, "cut: block to restart from (47/57 of the way)", min=1)
    modules: str | None = option(None, "module: which ones (all)", choices=("all", "attention", "mlp"))
    threshold: float | None = threshold(None, "of indicators that measure; the preset's by default", 0.01, 3.0)
    coefficients: str | None = option(
        None, "teacache: its polynomial (auto)", choices=("auto", "flux.1-dev", "identity")
    )
    interval: int | None = interval(None, "interval: N (3); sortblock: K (5)")
    beta: float | None = option(None, "sortblock: scale of the share computed in between (0.1)", min=0.0, max=1.0)
    mask: str | None = option(None, "static: computed steps (0/1/5/9) or a 0/1 string")
    order: int | None = option(None, "taylor, newton: number of differences (1)", min=0, max=4)
    of: str | None = option(None, "taylor, newton: what is forecast (residual)", choices=(RESIDUAL, OUTPUT))
    nodes: str | None = option(None, "taylor, newton: axis of the forecast (step)", choices=(STEP, SIGMA))
    damping: float | None = option(None, "taylor, newton: factor for each further order (1)", min=0.0, max=1.0)
    warmup: int = option(1, "steps at the beginning that are always computed", min=1)
    final: int = option(1, "steps at the end that are always computed", min=0)
    start: float = option(0.0, "share of the steps before which all are computed", min=0.0, max=1.0)
    end: float = option(1.0, "share of the steps after which all are computed", min=0.0, max=1.0)
    sigma_from: float = option(1.0, "noise level above which all are computed", min=0.0, max=1.0)
    sigma_to: float = option(0.0, "noise level below which all are computed", min=0.0, max=1.0)
    max_skips: int | None = option(None, "how often may be skipped in all", min=0)
    max_consecutive: int | None = option(None, "how often may be skipped in a row", min=0)
    force: bool = force()

    def __post_init__(self) -> None:
        for name, (part, valid) in MEANINGS.items():
            chosen = getattr(self, part)
            if getattr(self, name) is not None and chosen not in valid:
                raise InputError(
                    f"{name} means nothing with {part}={chosen}; it belongs to {part}={' or '.join(valid)}"
                )
        if self.indicator == "static":
            if self.mask is None:
                raise InputError("indicator=static needs mask=…, such as mask=0/1/5/9")
            read_schedule(self.mask)
        if self.threshold is None and self.indicator in THRESHOLDS:  # a plan shows, and may raise, what will be used
            object.__setattr__(self, "threshold", THRESHOLDS[self.indicator])

    def value(self, name: str, default: Any) -> Any:
        """An option, or what it is when it was not given."""
        given = getattr(self, name)
        return default if given is None else given

    def estimate_with(self) -> Callable[[], Reuse]:
        """What makes the estimators."""
        if self.estimator not in FORECASTS:
            return lambda: Reuse(self.estimator)
        kind = {"taylor": Taylor, "newton": Newton}[self.estimator]
        default = OUTPUT if self.scope == "module" else RESIDUAL
        of, nodes = self.value("of", default), self.value("nodes", STEP)
        return lambda: kind(of, self.value("order", 1), nodes, self.value("damping", 1.0))


class Product(Cache):
    """The product that the options name."""

    config: ProductConfig

    def designs(self, info: ModelInfo) -> tuple[Design, ...]:
        c = self.config
        rules = Rules(c.warmup, c.final, c.start, c.end, c.sigma_from, c.sigma_to, c.max_skips, c.max_consecutive)
        never = c.threshold == 0 or c.interval == 1
        indicator, fingerprint = self._indicator(info)
        return (Design(self._scope(), indicator, c.estimate_with(), rules, fingerprint, never),)

    def _scope(self) -> Scope:
        c = self.config
        scopes: dict[str, Scope] = {
            "stack": Stack(),
            "fnbn": Between(c.value("first", 1), c.value("last", 0)),
            "blocks": Blocks(c.value("first", 0)),
            "cut": Cut(c.cut),
            "module": Modules(c.value("modules", "all")),
        }
        return scopes[c.scope]

    def _indicator(self, info: ModelInfo) -> tuple[Callable[[], Indicator], str]:
        """What makes the indicators, and the fingerprint of the calibration they rest on."""
        c = self.config
        threshold = c.threshold or 0.0
        if c.indicator == "teacache":
            polynomial = choose(c.value("coefficients", "auto"), info, "cache:indicator=teacache")
            return lambda: ProbeChange(threshold, polynomial), polynomial.fingerprint
        if c.indicator == "magcache":
            magnitudes = kept_magnitudes(info)
            return lambda: MagnitudeDrift(threshold, magnitudes), magnitudes.fingerprint
        if c.indicator == "static":
            schedule = read_schedule(c.mask or "")
            return lambda: Mask(schedule.computed, schedule.steps), ""
        plain: dict[str, Callable[[], Indicator]] = {
            "probe": lambda: ProbeChange(threshold),
            "seacache": lambda: ProbeChange(threshold, view=spectral_filter),
            "firstblock": lambda: FirstBlocks(threshold),
            "interval": lambda: Interval(c.value("interval", 3)),
            "sortblock": lambda: SortBlock(c.value("interval", 5), c.value("beta", 0.1)),
        }
        return plain[c.indicator], ""


def predict_product(config: ProductConfig, info: ModelInfo, setting: Setting) -> Prediction:
    """As for every cache; a mask must be for this number of steps."""
    prediction = predict_cache("cache", Product)(config, info, setting)
    if config.mask is not None:
        check_steps(read_schedule(config.mask), effective_steps(setting))
    return prediction


SPEC = preset(
    "cache",
    "any product of scope, indicator and estimator, published or not",
    Product,
    ProductConfig,
    predict=predict_product,
    trial="scope=blocks:indicator=probe:estimator=newton:threshold=0.9",
)
