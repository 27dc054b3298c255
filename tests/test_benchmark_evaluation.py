"""The benchmark of scoring runs, and its peers answer the same questions."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import evaluation


def test_scoring_is_timed_beside_the_original_packages_at_a_tiny_size(tmp_path):
    done = CliRunner().invoke(
        evaluation.main, ["--size", "tiny", "--no-growth", "--out", str(tmp_path)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "evaluation-tiny.json").read_text())
    assert set(record["peers"]) == set(evaluation.PEERS)
    assert record["ratio"] == pytest.approx(sum(record["peers"].values()) / record["panobench"])
    assert f"**{record['ratio']:.1f}**" in (tmp_path / "evaluation-tiny.md").read_text()


def test_the_peers_measure_the_same(tmp_path: Path):
    """Same weights, same views: what is timed side by side answers the same questions."""
    size = evaluation.SIZES["tiny"]
    evaluation.write_clip(tmp_path / "clip.mp4", size)
    work = evaluation.load(size, tmp_path / "clip.mp4")
    ours = evaluation.panobench(work)
    for name, peer in (
        ("clip_alignment", evaluation.peer_alignment),
        ("directional_alignment", evaluation.peer_directional),
        ("clip_consistency", evaluation.peer_consistency),
        ("tlpips", evaluation.peer_lpips),
    ):
        assert peer(work) == pytest.approx(ours[name], abs=0.02), name
