from fastdiffusers.accelerator import Setting
from fastdiffusers.models.info import describe
from fastdiffusers.models.parts import FLUX_PARTS, Parts


def parts(**more):
    return Parts(("a", "b"), ("a",), lambda denoiser, vae: Setting(1, 1.0, 8, 8), **more)


def test_an_optional_part_is_left_out_by_an_empty_entry_only():
    some = parts(optional=frozenset({"b"}))
    assert some.of({"a": ["x", "A"], "b": [None, None]}) == ("a",)
    assert some.of({"a": ["x", "A"], "b": ["x", "B"]}) == some.of({}) == ("a", "b")
    assert parts().of({"b": [None, None]}) == ("a", "b")


def test_flux_has_its_parts_and_defaults():
    assert set(FLUX_PARTS.weighted) < set(FLUX_PARTS.names) and FLUX_PARTS.denoiser == "transformer"
    setting = FLUX_PARTS.setting({"guidance_embeds": True}, {"sample_size": 96})
    assert (setting.steps, setting.guidance, setting.height, setting.width) == (28, 3.5, 96, 96)
    assert FLUX_PARTS.setting({}, {}).steps == 4 and FLUX_PARTS.setting({}, {}).height == 1024


def test_the_unit_is_two_cells_of_flux():
    info = describe("flux-emoji")
    assert info.unit == 2 * info.vae_scale_factor and info.note == ""
    assert info.tokens(info.unit * 3, info.unit * 2) == 6
    assert info.scheduler()["_class_name"] == "FlowMatchEulerDiscreteScheduler"
