"""Pictures through the encoders onto disk: right numbers, in buckets, resumable, and stopped when too much is amiss."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from PIL import Image

from fastdiffusers.distillation.data import DataOptions, Store, prepare
from fastdiffusers.distillation.data import encoding as encoding_module
from fastdiffusers.distillation.data.buckets import fitted
from fastdiffusers.distillation.data.encoding import encode
from fastdiffusers.errors import InputError, NumericalError
from fastdiffusers.pipelines import pixels

SIZES = {"a.png": (40, 40), "b.png": (70, 35), "c.png": (35, 70), "d.png": (64, 64), "e.png": (20, 20)}
WORDS = ["a red apple", "a cat on a mat", "a cat on a mat", "two blue houses", "the sun"]


@pytest.fixture
def csv(pictures):
    folder = pictures(SIZES)
    lines = [f"{name},{text}\n" for name, text in zip(SIZES, WORDS, strict=True)]
    (folder / "metadata.csv").write_text("image,prompt\n" + "".join(lines))
    return folder


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(encoding_module, "CHUNK", 2)


def prepared(teacher, csv, tmp_path, **options):
    return prepare(teacher, DataOptions(data=str(csv), **options), tmp_path / "stores", progress=False)


def test_numbers_are_those_of_the_pipelines_parts(teacher, csv, tmp_path):
    store = prepared(teacher, csv, tmp_path)
    rng = np.random.default_rng(0)
    assert len(store) == 5 and [store.size_of(i) for i in range(5)] == [
        (32, 32),
        (24, 44),
        (44, 24),
        (32, 32),
        (32, 32),
    ]
    one = store.examples(np.array([1]), rng)
    assert one.size == (24, 44) and one.captions == ["a cat on a mat"] and one.latents.dtype == np.float32
    unit = paddle.to_tensor(pixels.read_picture(Image.fromarray(fitted(Image.open(csv / "b.png"), (24, 44))), 24, 44))
    with paddle.no_grad():
        latents = pixels.pack(teacher.vae.scale_latents(teacher.vae.encode(unit).mode())).numpy()
        text, pooled, _, _ = teacher._encode(["a cat on a mat", ""], 1, None)
    np.testing.assert_allclose(one.latents, latents, atol=2e-3)
    np.testing.assert_allclose(one.text, text[:1].numpy(), atol=2e-3)
    np.testing.assert_allclose(one.pooled, pooled[:1].numpy(), atol=2e-3)
    np.testing.assert_allclose(store.empty()[0], text[1:].numpy(), atol=2e-3)
    np.testing.assert_allclose(store.empty()[1], pooled[1:].numpy(), atol=2e-3)
    assert one.guidance is None and one.states is None and one.noise is None
    assert store.meta["counts"]["used"] == 5 and store.meta["model"]["sha256"] == teacher.info.sha256
    assert (
        "5 examples of 32x32 (3), 24x44 (1), 44x24 (1), 4 different captions" not in store.describe()[0]
    )  # width first
    assert store.describe()[0] == "5 examples of 32x32 (3), 44x24 (1), 24x44 (1), 4 different captions"


def test_a_batch_has_one_size_and_is_the_same_every_time(teacher, csv, tmp_path):
    store = prepared(teacher, csv, tmp_path)
    batch = store.examples(np.array([0, 1, 3, 2, 4]), np.random.default_rng(3))
    assert batch.size == (32, 32) and batch.latents.shape == (5, 64, 16)
    assert [batch.captions[i] for i in (0, 2, 4)] == [WORDS[0], WORDS[3], WORDS[4]]
    for seed in range(12):
        other = store.examples(np.array([0, 1, 3, 2, 4]), np.random.default_rng(seed))
        assert {other.captions[1], other.captions[3]} <= {WORDS[0], WORDS[3], WORDS[4]}
    for i, row in ((0, 0), (2, 3), (4, 4)):
        alone = store.examples(np.array([row]), np.random.default_rng(0))
        for name in ("latents", "text", "pooled"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(batch, name)[i])
    again = Store.open(store.folder).examples(np.array([0, 1, 3, 2, 4]), np.random.default_rng(3))
    np.testing.assert_array_equal(batch.latents, again.latents)
    rng = np.random.default_rng(3)
    store.examples(np.array([0, 3]), rng)
    assert rng.random() == np.random.default_rng(3).random()  # nothing to replace, no chance used


def test_without_buckets_everything_is_square(teacher, csv, tmp_path):
    store = prepared(teacher, csv, tmp_path, buckets=False)
    assert {store.size_of(i) for i in range(5)} == {(32, 32)}
    assert store.describe()[0] == "5 examples of 32x32, 4 different captions"


def test_small_pictures_are_left_out_and_examples_limited(teacher, csv, tmp_path):
    store = prepared(teacher, csv, tmp_path, min_side=36)
    assert store.captions(np.arange(2)) == [WORDS[0], WORDS[3]]
    assert store.meta["counts"]["skipped"] == {"min_side": 3}
    assert len(prepared(teacher, csv, tmp_path, examples=3)) == 3


def test_a_second_call_does_nothing(teacher, csv, tmp_path, monkeypatch):
    first = prepared(teacher, csv, tmp_path)
    monkeypatch.setattr(encoding_module, "encode", lambda *_: pytest.fail("encoded again"))
    assert prepared(teacher, csv, tmp_path).folder == first.folder
    (csv / "metadata.csv").write_text((csv / "metadata.csv").read_text().replace("apple", "pear"))
    with pytest.raises(pytest.fail.Exception):
        prepared(teacher, csv, tmp_path)


def test_an_interrupted_preparation_goes_on_where_it_was(teacher, csv, tmp_path, monkeypatch, small_chunks):
    whole = prepared(teacher, csv, tmp_path / "whole")
    calls = []

    def fragile(pipe, family, some, size):
        calls.append(len(some))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return encode(pipe, family, some, size)

    monkeypatch.setattr(encoding_module, "encode", fragile)
    with pytest.raises(KeyboardInterrupt):
        prepared(teacher, csv, tmp_path)
    folder = tmp_path / "stores" / whole.folder.name
    assert (folder / "chunk-00000.json").is_file() and not (folder / "store.json").exists()
    with pytest.raises(InputError, match="holds no complete preparation of data"):
        Store.open(folder)
    before = (folder / "chunk-00000.json").stat().st_mtime_ns
    store = prepared(teacher, csv, tmp_path)
    assert (folder / "chunk-00000.json").stat().st_mtime_ns == before
    assert store.meta == whole.meta
    for name in ("examples.npy", "captions.json", "latents-00001-32x32.npy", "text-00000.npy"):
        assert (store.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_the_limit_of_examples_holds_after_an_interruption(teacher, csv, tmp_path, monkeypatch, small_chunks):
    chunks = []

    def fragile(pipe, family, some, size):
        chunks.append(size)
        if len(chunks) == 3:  # the first chunk has two sizes
            raise KeyboardInterrupt
        return encode(pipe, family, some, size)

    monkeypatch.setattr(encoding_module, "encode", fragile)
    with pytest.raises(KeyboardInterrupt):
        prepared(teacher, csv, tmp_path, examples=3)
    store = prepared(teacher, csv, tmp_path, examples=3)
    assert len(store) == 3 and store.meta["counts"]["used"] == 3


def test_a_share_at_the_limit_is_borne(teacher, csv, tmp_path):
    (csv / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match="1 of 5 samples"):
        prepared(teacher, csv, tmp_path, max_unreadable=0.19)
    assert len(prepared(teacher, csv, tmp_path, max_unreadable=0.2)) == 4


def test_unreadable_samples_are_counted_up_to_a_limit(teacher, csv, tmp_path):
    (csv / "b.png").write_bytes(b"")
    (csv / "d.png").unlink()
    with pytest.raises(InputError) as caught:
        prepared(teacher, csv, tmp_path)
    message = str(caught.value)
    assert message.startswith("2 of 5 samples of ") and "\n" not in message
    assert "are unreadable, max_unreadable is 0.05; first: metadata.csv:3: picture " in message
    assert "metadata.csv:5: picture" in message
    store = prepared(teacher, csv, tmp_path, max_unreadable=0.4)
    assert len(store) == 3 and store.meta["counts"]["unreadable"] == 2
    with pytest.raises(InputError, match="2 of 5 samples"):  # what is there is judged by the limit of today
        prepared(teacher, csv, tmp_path, max_unreadable=0.1)


def test_too_much_unreadable_ends_it_early(teacher, pictures, tmp_path):
    folder = pictures({"a.png": (32, 32)})
    (folder / "metadata.csv").write_text("image,prompt\n" + "a.png,x\n" * 80 + "lost.png,y\n" * 5000)
    with pytest.raises(InputError, match=r"^4080 of 4160 samples"):
        prepared(teacher, folder, tmp_path)


def test_nothing_left_is_said(teacher, csv, tmp_path):
    with pytest.raises(InputError, match=r"nothing to train on \(0 used, 5 skipped \(min_side 5\)\)"):
        prepared(teacher, csv, tmp_path, min_side=1000)


def test_values_beyond_half_precision_are_not_stored(tmp_path):
    from fastdiffusers.distillation.data.files import save_half

    with pytest.raises(NumericalError, match=r"x\.npy: the largest value is 70000; float16 ends at 65504"):
        save_half(tmp_path / "x.npy", np.array([1.0, -70000.0], np.float32))
    assert not list(tmp_path.iterdir())


def test_a_damaged_store_is_named(teacher, csv, tmp_path):
    store = prepared(teacher, csv, tmp_path)
    path = store.folder / "latents-00000-32x32.npy"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"latents-00000-32x32\.npy' is missing or damaged \(ValueError\); remove its"):
        Store.open(store.folder).examples(np.array([0]), np.random.default_rng(0))
    with pytest.raises(InputError, match=r"rows .* of 5 examples; valid are 0 to 4"):
        store.examples(np.array([5]), np.random.default_rng(0))
    record = json.loads((store.folder / "store.json").read_text())
    (store.folder / "store.json").write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(InputError, match="has format 99, this version reads 2"):
        Store.open(store.folder)


def test_what_it_will_take_is_said_first(teacher, csv, tmp_path, capfd):
    prepare(teacher, DataOptions(data=str(csv)), tmp_path, progress=True)
    said = capfd.readouterr().err.splitlines()
    assert said[0].startswith("preparing ") and "5 pictures to encode, about " in said[0] and "on disk" in said[0]
    assert said[-1] == "prepared 5 used"


def test_captions_that_do_not_fit_are_counted(teacher, pictures, tmp_path, capfd):
    folder = pictures({"a.png": (32, 32)})
    (folder / "metadata.csv").write_text(f"image,prompt\na.png,{'a red apple ' * 20}\n")
    store = prepare(teacher, DataOptions(data=str(folder)), tmp_path, progress=True)
    assert store.meta["texts"]["truncated"] == 1
    assert capfd.readouterr().err.splitlines()[-1] == "prepared 1 used; 1 caption cut off at 16 tokens"


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
def test_of_two_processes_one_waits(teacher, csv, tmp_path, monkeypatch):
    import fcntl

    done = prepared(teacher, csv, tmp_path)
    (done.folder / "store.json").unlink()
    with open(done.folder / ".lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(prepared, teacher, csv, tmp_path)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.5)
            fcntl.flock(stream, fcntl.LOCK_UN)
            assert other.result(timeout=60).meta == done.meta


def test_a_full_disk_is_found_first(teacher, csv, tmp_path, monkeypatch):
    from fastdiffusers.distillation.data import estimate

    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(InputError, match=r"needs .* kB and has 0 kB; use fewer examples or another disk"):
        prepared(teacher, csv, tmp_path)


def test_a_resolution_of_ones_own(teacher, csv, tmp_path):
    assert prepared(teacher, csv, tmp_path, resolution=16, buckets=False).examples(
        np.arange(2), np.random.default_rng(0)
    ).latents.shape == (2, 16, 16)
    with pytest.raises(InputError, match="resolution is 18; this model needs a multiple of 4"):
        prepared(teacher, csv, tmp_path, resolution=18)
