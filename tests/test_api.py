"""Colorize from Python: every kind of picture, saving and loading, the Hub, torch.hub."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import colorize
from colorize import Colorizer
from colorize.data.scenes import render
from colorize.evaluation import ConstantColour

RGB = render("rural", size=48, seed=0)[:40]  # uint8 (40, 48, 3)


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer.from_pretrained("auto", device="cpu")


@pytest.fixture(scope="module")
def expected(colorizer: Colorizer) -> np.ndarray:
    return colorizer(RGB)


def test_import_takes_no_pytorch():
    code = "import sys, colorize; sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert {name for name in colorize.__all__ if not hasattr(colorize, name)} == set()
    assert set(colorize.__all__) <= set(dir(colorize))
    with pytest.raises(AttributeError, match="it has: Checkpoint, Colorizer"):
        colorize.Colouriser  # noqa: B018


class TestKinds:
    def test_arrays(self, colorizer: Colorizer, expected: np.ndarray):
        assert expected.shape == RGB.shape and expected.dtype == np.uint8 and np.ptp(expected, axis=-1).mean() > 5
        batch = colorizer(np.stack([RGB, RGB[::-1]]))
        assert batch.shape == (2, *RGB.shape) and np.abs(batch[0].astype(int) - expected).max() <= 1

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
    def test_floating_arrays_stay_floating(self, colorizer: Colorizer, expected: np.ndarray, dtype: Any):
        out = colorizer((RGB / 255).astype(dtype))
        assert out.dtype == dtype and out.min() >= 0 and out.max() <= 1
        np.testing.assert_allclose(out.astype(float) * 255, expected, atol=1.5 if dtype == np.float16 else 0.6)

    @pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
    def test_channels(self, colorizer: Colorizer, channels: int | None):
        grey = np.asarray(Image.fromarray(RGB).convert("L"))
        alpha = np.random.default_rng(0).integers(0, 256, grey.shape, dtype=np.uint8)
        array = (
            grey
            if channels is None
            else np.stack([grey] * (3 if channels > 2 else 1) + [alpha] * (1 - channels % 2), -1)
        )
        assert channels is None or array.shape[-1] == channels
        out = colorizer(array)
        np.testing.assert_array_equal(out[..., :3], colorizer(np.stack([grey] * 3, -1)))
        if channels in (2, 4):
            np.testing.assert_array_equal(out[..., 3], alpha)
        else:
            assert out.shape == (*grey.shape, 3)

    def test_views_and_arrays_that_cannot_be_written_to(self, colorizer: Colorizer, expected: np.ndarray):
        frozen = RGB.copy()
        frozen.flags.writeable = False
        np.testing.assert_array_equal(colorizer(frozen), expected)
        flipped = RGB[:, ::-1]
        np.testing.assert_array_equal(colorizer(flipped), colorizer(flipped.copy()))
        assert (frozen == RGB).all(), "the input stays as it is"

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
    def test_tensors(self, colorizer: Colorizer, expected: np.ndarray, dtype: torch.dtype):
        picture = torch.tensor(RGB).permute(2, 0, 1)
        given = picture if dtype == torch.uint8 else (picture / 255).to(dtype)
        out = colorizer(given)
        assert out.dtype == dtype and out.shape == given.shape
        values = out.float() * (1 if dtype == torch.uint8 else 255)
        np.testing.assert_allclose(values.permute(1, 2, 0), expected, atol=6 if dtype == torch.bfloat16 else 0.6)
        assert colorizer(given[None].expand(2, -1, -1, -1)).shape == (2, *given.shape)
        assert colorizer(given[0]).shape == given.shape

    @pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "CMYK", "I;16"])
    def test_images(self, colorizer: Colorizer, mode: str):
        image = Image.fromarray(RGB).convert("L") if mode == "I;16" else Image.fromarray(RGB).convert(mode)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        if image.mode.endswith("A"):
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.info["exif"] = b"kept"
        out = colorizer(image)
        assert out.size == image.size and out.mode == ("RGBA" if mode in ("LA", "RGBA") else "RGB")
        assert out.info["exif"] == b"kept"
        if mode in ("LA", "RGBA"):
            assert out.getchannel("A").tobytes() == image.getchannel("A").tobytes()
        if mode == "RGB":
            np.testing.assert_array_equal(np.asarray(out), colorizer(RGB))

    def test_paths_lists_and_iterators(self, colorizer: Colorizer, expected: np.ndarray, tmp_path: Path):
        Image.fromarray(RGB).save(tmp_path / "a.png")
        array, image, tensor, path = colorizer(
            [RGB, Image.fromarray(RGB), torch.tensor(RGB).permute(2, 0, 1), tmp_path / "a.png"]
        )
        assert isinstance(array, np.ndarray) and isinstance(image, Image.Image) and isinstance(tensor, torch.Tensor)
        for one in (array, image, tensor.permute(1, 2, 0), path, colorizer(str(tmp_path / "a.png"))):
            np.testing.assert_array_equal(np.asarray(one), expected)
        taken: list[int] = []

        def pictures() -> Iterator[np.ndarray]:
            for number in range(3):
                taken.append(number)
                yield RGB

        results = colorizer(pictures())
        assert taken == [], "nothing is coloured before it is asked for"
        np.testing.assert_array_equal(next(results), expected)
        assert taken == [0]

    @pytest.mark.parametrize(
        ("image", "error", "says"),
        [
            (RGB.astype(np.int64), ValueError, "an array of int64 is no picture: give uint8, or floating"),
            (torch.zeros(3, 8, 8, dtype=torch.int32), ValueError, "a tensor of torch.int32"),
            (RGB.astype(np.float32), ValueError, r"lie in \[0, 1\], and this one reaches from"),
            (np.full((8, 8), np.nan), ValueError, "nan"),
            (np.zeros((8, 8, 5)), ValueError, r"an array of shape \(8, 8, 5\) is no picture"),
            (torch.zeros(8, 8, 3), ValueError, r"\(8, 8, 3\) is no picture: it must be \(H, W\), \(C, H, W\)"),
            (np.zeros((0, 8, 3), np.uint8), ValueError, "is no picture"),
            (np.zeros(8, np.uint8), ValueError, "is no picture"),
            ("gone.jpg", ValueError, "gone.jpg: no such file"),
            (3, TypeError, "a picture cannot be builtins.int: give a PIL image"),
        ],
    )
    def test_what_is_no_picture(self, colorizer: Colorizer, image: Any, error: type[Exception], says: str):
        with pytest.raises(error, match=says) as caught:
            colorizer(image)
        assert "\n" not in str(caught.value)


class TestPretrained:
    def test_a_checkpoint_a_folder_and_its_file(self, checkpoint: Path, tmp_path: Path):
        trained = Colorizer.from_pretrained(checkpoint, size=40, saturation=1.25, device="cpu")
        folder = trained.save_pretrained(tmp_path / "deep/cats")
        assert sorted(p.name for p in folder.iterdir()) == ["README.md", "model.safetensors"]
        for source in (folder, folder / "model.safetensors", str(folder)):
            again = Colorizer.from_pretrained(source, device="cpu")
            assert (again.size, again.saturation) == (40, 1.25)
            assert np.abs(again(RGB).astype(int) - trained(RGB)).max() <= 2, "half precision"
        card = (folder / "README.md").read_text()
        assert card.startswith("---\nlibrary_name: colorize\n") and "trained on beach" in card
        assert "rendered scenes" in card and "40 x 40" in card and str(tmp_path) not in card
        (folder / "README.md").write_text("mine")
        trained.save_pretrained(folder)
        assert (folder / "README.md").read_text() == "mine"

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ("nothing", "nothing is no network: give auto, last, general, a file"),
            ("gone.ckpt", "no checkpoint gone.ckpt"),
            (".", "has no model.safetensors"),
        ],
    )
    def test_what_is_no_network(self, source: str, says: str, tmp_path: Path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=says):
            Colorizer.from_pretrained(source)

    def test_a_network_of_ones_own_has_nothing_to_save(self, tmp_path: Path):
        with pytest.raises(ValueError, match="cannot be saved: it has no settings"):
            Colorizer(ConstantColour([0.1, 0.1]), 32, "cpu").save_pretrained(tmp_path / "x")
        assert not (tmp_path / "x").exists()

    def test_torch_hub(self, expected: np.ndarray):
        root = str(Path(__file__).parents[1])
        np.testing.assert_array_equal(torch.hub.load(root, "colorizer", source="local", device="cpu")(RGB), expected)


class TestHub:
    """Without a network: what would go over it is caught."""

    def test_there_and_back(self, colorizer: Colorizer, expected: np.ndarray, tmp_path: Path, monkeypatch):
        hub = pytest.importorskip("huggingface_hub")

        def upload(self: Any, *, folder_path: Path, **_: Any) -> str:
            for file in Path(folder_path).iterdir():
                (tmp_path / file.name).write_bytes(file.read_bytes())
            return "https://hub/commit"

        created = type("Created", (), {"repo_id": "me/cats"})
        monkeypatch.setattr(hub.HfApi, "create_repo", lambda self, **given: created)
        monkeypatch.setattr(hub.HfApi, "upload_folder", upload)
        assert colorizer.push_to_hub("me/cats", private=True) == "https://hub/commit"
        assert hub.ModelCard.load(tmp_path / "README.md").data.library_name == "colorize"

        monkeypatch.setattr(hub, "hf_hub_download", lambda repository, name, **given: str(tmp_path / name))
        again = Colorizer.from_pretrained("me/cats", revision="v1", device="cpu")
        np.testing.assert_array_equal(again(RGB), expected)  # what ships is in half precision already

    def test_a_repository_that_cannot_be_fetched(self, tmp_path: Path):
        pytest.importorskip("huggingface_hub")
        with pytest.raises(
            ValueError, match=r"no file or folder me/cats, and model\.safetensors cannot be fetched"
        ) as caught:
            Colorizer.from_pretrained("me/cats", local_files_only=True, cache_dir=tmp_path)
        assert "\n" not in str(caught.value)
