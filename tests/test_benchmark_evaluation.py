"""The benchmark of scoring runs, and its peers answer the same questions."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import evaluation, evaluation_peers


def test_scoring_is_timed_beside_the_original_packages_at_a_tiny_size(tmp_path):
    done = CliRunner().invoke(
        evaluation.main, ["--size", "tiny", "--no-growth", "--out", str(tmp_path)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "evaluation-tiny.json").read_text())
    assert set(record["peers"]) == set(evaluation_peers.PEERS)
    clock, processor = (sum(seconds[kind] for seconds in record["peers"].values()) for kind in (0, 1))
    page = (tmp_path / "evaluation-tiny.md").read_text()
    for name in ("default", "same questions", "default, bf16", "same questions, bf16"):
        assert record["ratio"][name] == pytest.approx(
            [clock / record["panobench"][name][0], processor / record["panobench"][name][1]]
        )
        assert f"**{record['ratio'][name][0]:.1f}**" in page
    assert len(evaluation_peers.SAME_QUESTIONS) == len(evaluation_peers.PEERS)
    for moved in record["drift"].values():
        assert {"clip_alignment", "clip_consistency", "tlpips_judge"} <= set(moved)
        assert not {"flicker", "seam_ratio", "motion_speed"} & set(moved)


def test_the_peers_measure_the_same(tmp_path: Path):
    """Same weights, same views: what is timed side by side answers the same questions."""
    size = evaluation_peers.SIZES["tiny"]
    evaluation_peers.write_clip(tmp_path / "clip.mp4", size)
    work = evaluation_peers.load(size, tmp_path / "clip.mp4")
    ours = evaluation.panobench(work)
    for name, peer, within in (
        ("clip_alignment", evaluation_peers.peer_alignment, 0.02),
        ("clip_consistency", evaluation_peers.peer_consistency, 0.02),
        ("tlpips", evaluation_peers.peer_lpips, 0.02),
        ("view_contrast", evaluation_peers.peer_contrast, 0.2),  # of 42 grey levels
        (
            "discontinuity_score",
            evaluation_peers.peer_discontinuity,
            0.1,
        ),  # its decoder does not filter colours around the seam
    ):
        assert peer(work) == pytest.approx(ours[name], abs=within), name
