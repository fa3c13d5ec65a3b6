"""The build, on tiny packages made here: right rows, right pixels, same bytes twice, nothing half-written."""

import builtins
import hashlib
import io
import json
import tarfile

import numpy as np
import pytest

from fastdiffusers.errors import InputError, MissingDependency
from fastdiffusers.zoo.emoji.build import build, default_folder
from fastdiffusers.zoo.emoji.captions import PALETTE
from fastdiffusers.zoo.emoji.dataset import EmojiDataset
from fastdiffusers.zoo.emoji.render import render, render_all, svg_of
from fastdiffusers.zoo.emoji.sources import Source

DISC = '<circle cx="16" cy="16" r="8" fill="#5c9cec"/>'
HALF = '<rect x="0" y="0" width="16" height="32" fill="#ff0000" fill-opacity=".5"/>'
CAPTIONS = [
    {"hexcode": "1F34E", "label": "red apple", "tags": ["apple", "fruit"], "group": 0, "subgroup": 0, "order": 2},
    {"hexcode": "2764-FE0F", "label": "red heart", "tags": ["love"], "group": 0, "subgroup": 0, "order": 1},
    {"hexcode": "1F550", "label": "one o’clock", "tags": [], "group": 0, "subgroup": 0, "order": 3},
]
MESSAGES = {"groups": [{"order": 0, "key": "food-drink"}], "subgroups": [{"order": 0, "key": "food-fruit"}]}


def needs_cairo() -> None:
    try:
        import cairosvg  # noqa: F401
    except (ImportError, OSError):
        pytest.skip("cairosvg or the cairo library is not installed")


def packed(path, style, files) -> Source:
    with tarfile.open(path, "w:gz") as archive:
        for name, value in files.items():
            data = json.dumps(value).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source(path.stem, "1.0", sha256, style, "MIT", f"{style} by somebody", file=path)


@pytest.fixture
def sources(tmp_path):
    noto = {"width": 32, "height": 32, "icons": {"apple": {"body": DISC}, "heart": {"body": HALF}}}
    fluent = {"width": 32, "height": 32, "icons": {"apple": {"body": HALF}}}
    return [
        packed(tmp_path / "a.tgz", "noto", {"icons.json": noto, "chars.json": {"1f34e": "apple", "2764": "heart"}}),
        packed(
            tmp_path / "b.tgz", "fluent", {"icons.json": fluent, "chars.json": {"1f34e": "apple", "2764-fe0f": "gone"}}
        ),
        packed(tmp_path / "c.tgz", None, {"en/data.json": CAPTIONS, "en/messages.json": MESSAGES}),
    ]


def test_rows_pixels_and_card(tmp_path, sources):
    needs_cairo()
    calls = []
    card = build(tmp_path / "data", 32, lambda *call: calls.append(call), sources)
    assert calls == [("drawing", 1, 3), ("drawing", 2, 3), ("drawing", 3, 3)]
    assert card.counts == {
        "pictures": 3,
        "concepts": 2,
        "core": 2,
        "held-out": 0,
        "styles": {"noto": 2, "fluent": 1},
    }
    assert json.loads((tmp_path / "data" / "card.json").read_text()) == card.to_dict()
    assert [source["attribution"] for source in card.sources][:2] == ["noto by somebody", "fluent by somebody"]
    data = EmojiDataset(tmp_path / "data", 32, split="all")
    assert [(entry["label"], entry["style"], entry["row"]) for entry in data.entries] == [
        ("red heart", "noto", 0),
        ("red apple", "noto", 1),
        ("red apple", "fluent", 2),
    ]
    assert (data.image(1)[16, 16] == PALETTE["blue"]).all()
    assert [entry["clashes"] for entry in data.entries] == [[], ["blue"], []]
    pictures = np.load(tmp_path / "data" / "images.npy", mmap_mode="r")
    assert pictures.shape == (3, 32, 32, 4)
    np.testing.assert_allclose(pictures[0, 4, 4].astype(int), (255, 0, 0, 128), atol=1)  # straight, not premultiplied
    assert (pictures[0, 4, 20] == 0).all()


def test_an_exact_code_wins_over_the_one_without_variation_selector(tmp_path, sources):
    needs_cairo()
    icons = {"width": 32, "height": 32, "icons": {"plain": {"body": DISC}, "exact": {"body": HALF}}}
    names = {"2764": "plain", "2764-fe0f": "exact"}
    sources[0] = packed(tmp_path / "d.tgz", "noto", {"icons.json": icons, "chars.json": names})
    build(tmp_path / "data", 32, sources=sources)
    assert np.load(tmp_path / "data" / "images.npy")[0, 4, 4, 3] == 128


def test_same_bytes_on_every_build(tmp_path, sources):
    needs_cairo()
    first, second = tmp_path / "one", tmp_path / "two"
    assert build(first, 32, sources=sources) == build(second, 32, sources=sources)
    names = sorted(path.name for path in first.iterdir())
    assert names == ["card.json", "images.npy", "index.jsonl"]
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_parallel_drawing_keeps_the_order():
    needs_cairo()
    icons = {"width": 8, "height": 8, "icons": {}}
    for i in range(40):
        icons["icons"][str(i)] = {"body": f'<rect width="8" height="8" fill="rgb({i},0,0)"/>'}
    pictures = render_all([svg_of(icons, str(i)) for i in range(40)], 16, workers=2)
    assert [int(picture[8, 8, 0]) for picture in pictures] == list(range(40))


def test_an_outside_reference_is_refused_and_leaves_no_folder(tmp_path, sources):
    needs_cairo()
    body = '<image href="https://example.org/a.png" width="9" height="9"/>'
    icons = {"width": 32, "height": 32, "icons": {"apple": {"body": body}}}
    sources[0] = packed(tmp_path / "d.tgz", "noto", {"icons.json": icons, "chars.json": {"1f34e": "apple"}})
    with pytest.raises(InputError, match=r"https://example\.org/a\.png"):
        build(tmp_path / "data", 32, sources=sources)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "b.tgz", "c.tgz", "d.tgz"]


def test_inside_references_are_drawn():
    needs_cairo()
    gradient = (
        '<linearGradient id="a"><stop stop-color="#00ff00"/></linearGradient><path fill="url(#a)" d="M0 0h8v8H0z"/>'
    )
    picture = render(svg_of({"width": 8, "height": 8, "icons": {"x": {"body": gradient}}}, "x"), 16)
    assert (picture[8, 8] == (0, 255, 0, 255)).all()


def test_wrong_size_and_missing_captions(tmp_path, sources):
    needs_cairo()
    with pytest.raises(InputError, match="16 to 512"):
        build(tmp_path / "data", 8, sources=sources)
    with pytest.raises(InputError, match="captions"):
        build(tmp_path / "data", 32, sources=sources[:2])


@pytest.mark.parametrize(("error", "message"), [(ImportError, "pip install"), (OSError, "libcairo2")])
def test_without_a_renderer(tmp_path, sources, monkeypatch, error, message):
    original = builtins.__import__

    def broken(name, *args, **kwargs):
        if name == "cairosvg":
            raise error("not here")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(MissingDependency, match=message):
        build(tmp_path / "data", 32, sources=sources)


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "data" / "emoji-128"


def test_a_folder_with_other_files_is_left_alone(tmp_path, sources):
    (tmp_path / "holiday.jpg").write_text("dear to somebody")
    with pytest.raises(InputError, match="holds other files"):
        build(tmp_path, 32, sources=sources)
    assert (tmp_path / "holiday.jpg").exists()
