import pytest
from fake_accelerators import spec
from fake_pipe import SETTING, FakeInfo

from fastdiffusers.errors import InputError, PlanError
from fastdiffusers.plan import make_plan, parse
from fastdiffusers.plan_file import read_plan, write_plan
from fastdiffusers.plugins import Registry


@pytest.fixture
def plugins():
    found = Registry()
    found.accelerators["interval"] = spec()
    return found


def test_a_written_plan_reads_back(tmp_path, plugins):
    plan = make_plan(parse("interval:every=3"), plugins, FakeInfo(), SETTING)
    write_plan(plan, tmp_path / "plan.yaml")
    again = read_plan(tmp_path / "plan.yaml", plugins, FakeInfo())
    assert again.items[0].config == plan.items[0].config and again.setting == plan.setting
    assert [path.name for path in tmp_path.iterdir()] == ["plan.yaml"]


def test_a_plan_by_hand(tmp_path, plugins):
    file = tmp_path / "plan.yaml"
    file.write_text("accelerators:\n- name: interval\n  options: {every: 4}\n")
    assert read_plan(file, plugins, FakeInfo()).items[0].config.every == 4
    file.write_text("accelerators:\n- name: interval\n  options: {every: four}\n")
    with pytest.raises(PlanError, match="every must be an integer ≥ 1, got 'four'"):
        read_plan(file, plugins, FakeInfo())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the plan"),
        (b"a: [", "is not valid YAML"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        (b"", "is not a plan"),
        (b"- a", "is not a plan"),
        (b"!!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
)
def test_files_that_are_no_plans(tmp_path, plugins, content, words):
    file = tmp_path / "plan.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PlanError) as caught:
        read_plan(file, plugins, FakeInfo())
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_an_unwritable_place_is_said(tmp_path, plugins):
    plan = make_plan([], plugins, FakeInfo(), SETTING)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_plan(plan, tmp_path / "file" / "plan.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accelerators: none\nsettings: {steps: 4}\n", "a plan has no key 'settings'; it has: accelerators"),
        (
            "accelerators: none\nsetting: {steps: 4, guidance: null, height: 32, width: 32}\n",
            "guidance must be a number",
        ),
    ],
)
def test_what_a_plan_cannot_hold_is_refused(tmp_path, plugins, text, message):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(PlanError, match=message):
        read_plan(tmp_path / "plan.yaml", plugins, FakeInfo())
