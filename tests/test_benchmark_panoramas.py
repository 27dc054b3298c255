"""The benchmark on real panoramas, run on analytic ones: its clips are what they are called, its shares add up."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks import real_panoramas
from benchmarks.panorama_variants import (
    NADIRS,
    cylinder,
    exposure_ramp,
    lenses_off,
    mirrored,
    part_of,
    poles_cut,
    seam_blurred,
    seam_off,
    turning,
    two_lenses,
)
from core.errors import PanobenchError
from tests.evaluation.worlds import still, stretched
from tests.evaluation.worlds import turning as turned_exactly

PICTURE = still(frames=1, height=128)[0]


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


def test_turning_is_the_exact_turn():
    assert apart(turning(PICTURE)[:3], turned_exactly(1.3, frames=3, height=128)) < 1


def test_damages_touch_what_they_are_named_after():
    for name, change in NADIRS.items():
        changed = change(PICTURE)
        assert (changed[:100] == PICTURE[:100]).all(), name
        assert apart(changed[110:], PICTURE[110:]) > 0.5, name
    assert (exposure_ramp(PICTURE, 0) == PICTURE).all()
    assert (two_lenses(PICTURE, 6)[:, :128] == PICTURE[:, :128]).all()
    low, high = exposure_ramp(np.full((4, 8, 3), 100, np.uint8), 10)[0, [0, -1], 0]
    assert (low, high) == (95, 105)
    assert (seam_off(PICTURE, 4)[:, :190] == PICTURE[:, :190]).all()
    assert apart(seam_off(PICTURE, 4)[2:, -1], PICTURE[:-2, -1]) < apart(PICTURE[2:, -1], PICTURE[:-2, -1]) / 4
    assert (lenses_off(PICTURE, 4)[2:, 128:] == PICTURE[:-2, 128:]).all()
    blurred = seam_blurred(PICTURE)
    assert (blurred[:, 64:192] == PICTURE[:, 64:192]).all()
    assert apart(blurred[:, 0], blurred[:, -1]) < apart(PICTURE[:, 0], PICTURE[:, -1])


def test_parts_hold_what_they_should():
    columns = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (128, 256, 3)).copy()
    half = part_of(columns, 180).astype(int)
    assert (half[0, 2, 0], half[0, -3, 0]) == pytest.approx((65, 190), abs=1)
    rows = columns[:, ::2].transpose(1, 0, 2).repeat(2, axis=1)  # row r holds 2 r
    assert poles_cut(rows, 45).astype(int)[[2, -3], 0, 0] == pytest.approx([65, 189], abs=2)
    tall = cylinder(rows, 90).astype(int)
    assert tall[[0, -1], 0, 0] == pytest.approx([64, 190], abs=2)  # 45 degrees up and down
    assert tall[32, 0, 0] == pytest.approx(2 * (128 * (0.5 - np.arctan(0.5) / np.pi)), abs=2)
    folded = mirrored(PICTURE[None])
    assert (folded == folded[:, :, ::-1]).all()


def test_shares_of_ordered_pairs_are_the_area_under_the_curve():
    generator = np.random.default_rng(0)
    real, flat = generator.integers(0, 20, 50), generator.integers(5, 30, 70)
    truth = np.r_[np.zeros(50), np.ones(70)]
    area = roc_auc_score(truth, np.r_[real, flat])
    assert real_panoramas.ordered(real, flat, higher=False) == pytest.approx(area)
    assert real_panoramas.ordered(real, flat, higher=True) == pytest.approx(1 - area)


def test_radiance_is_exposed_by_area_and_curved(tmp_path: Path):
    linear = np.full((64, 128, 3), 0.5, np.float32)
    linear[:8] = 40.0  # a bright sky around the zenith: 4 % of the sphere
    cv2.imwrite(str(tmp_path / "a.hdr"), linear)
    seen = real_panoramas.read(tmp_path / "a.hdr")
    assert seen[0, 0, 0] == 255
    assert seen[32, 0].tolist() == [231] * 3  # .8 on the sRGB curve


def test_an_exr_without_its_package_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(PanobenchError, match="pip install OpenEXR"):
        real_panoramas.read(tmp_path / "a.exr")


@pytest.mark.slow
def test_the_tables_are_written_and_the_page_keeps_its_text(tmp_path: Path):
    for folder, make in {"panoramas": still, "photographs": stretched}.items():
        (tmp_path / folder).mkdir()
        for seed in range(2):
            Image.fromarray(make(frames=1, height=64, seed=seed)[0]).save(tmp_path / folder / f"{seed}.png")
    page = tmp_path / "page.md"
    page.write_text("# By hand\n\n## Measured\n\nof old\n")
    folders = [str(tmp_path / name) for name in ("panoramas", "photographs")]
    arguments = [*folders, "--height", "64", "--workers", "1", "--out", str(tmp_path / "out"), "--page", str(page)]
    done = CliRunner().invoke(real_panoramas.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "out/real-panoramas.json").read_text())
    assert {row["half"] for row in rows} == {"tuned", "held out"}
    assert {row["group"] for row in rows} == set(real_panoramas.GROUPS)
    whole = [row["is_360"] for row in rows if row["group"] == "panorama"]
    assert np.mean(whole) > 0.9
    assert page.read_text().startswith("# By hand\n\n## Measured\n\n")
    assert "of old" not in page.read_text()
    assert (tmp_path / "out/real-panoramas.md").read_text() in page.read_text()


def test_a_folder_of_other_pictures_is_refused(tmp_path: Path):
    for name in "ab":
        Image.new("RGB", (60, 40)).save(tmp_path / f"{name}.png")
    with pytest.raises(PanobenchError, match="60 x 40 is not 2:1"):
        real_panoramas.panorama_at(tmp_path / "a.png", 64)
    (tmp_path / "b.png").unlink()
    with pytest.raises(PanobenchError, match="at least 2 are needed"):
        real_panoramas.pictures_in(tmp_path)
