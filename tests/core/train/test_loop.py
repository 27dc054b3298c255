"""The training loop on a model of a few numbers."""

import pytest
import torch

from core.errors import PanobenchError
from core.train.curve import bucket_sums, curve_rows
from core.train.diffusion import Losses, Rows
from core.train.loop import LoopSettings, fit, learning_rate
from core.train.processes import start_processes


def losses_of(function):
    """A loss for `fit` of a function of the step."""

    def losses(rows, following):
        loss, count = function(rows.step), len(rows.chosen)
        return Losses(loss, loss.detach().repeat(count), torch.zeros(count, dtype=torch.long))

    return losses


def test_checkpoint_of_other_inputs_is_not_used(tmp_path):
    model = torch.nn.Linear(1, 1)
    settings = LoopSettings(steps=3, learning_rate=0.1, checkpoint_every=1)
    loss = lambda step: (model.weight - 1).square().sum()  # noqa: E731
    fit(model, losses_of(loss), settings, tmp_path / "c.pt", "one")
    assert len(fit(model, losses_of(loss), settings, tmp_path / "c.pt", "two").rows) == 3
    steps_run = []
    fit(model, losses_of(lambda step: (steps_run.append(step), loss(step))[1]), settings, tmp_path / "c.pt", "two")
    assert steps_run == [2]  # the last checkpoint is from before the last step


def test_loop_refuses_a_loss_that_is_not_finite_and_a_broken_checkpoint(tmp_path):
    model = torch.nn.Linear(1, 1)
    broken = losses_of(lambda step: model.weight.sum() * float("nan"))
    with pytest.raises(PanobenchError, match="loss is nan at step 1; lower learning_rate"):
        fit(model, broken, LoopSettings(2, 0.1), tmp_path / "c.pt", "x")
    (tmp_path / "c.pt").write_bytes(b"broken")
    with pytest.raises(PanobenchError, match="not a readable checkpoint; remove it"):
        fit(model, losses_of(lambda step: model.weight.sum()), LoopSettings(2, 0.1), tmp_path / "c.pt", "x")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains(tmp_path, precision):
    model = torch.nn.Linear(4, 1)
    x = torch.ones(8, 4)
    history = fit(
        model,
        losses_of(lambda step: (model(x).float() - 3).square().mean()),
        LoopSettings(20, 0.1, precision=precision),
        tmp_path / "c.pt",
        "x",
    )
    assert history.rows[-1].loss < 0.5 * history.rows[0].loss


def test_learning_rate_schedules():
    assert learning_rate(LoopSettings(10, 2.0), 9) == 2
    cosine = LoopSettings(10, 2.0, schedule="cosine")
    assert learning_rate(cosine, 0) == 2
    assert learning_rate(cosine, 5) == pytest.approx(1)


def test_the_average_of_the_weights_is_used_kept_and_resumed(tmp_path):
    """Against a written-out average; decay min(0.9, (1 + n) / (10 + n)), as diffusers ramps it."""

    def run(steps, name, seen):
        model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(model.weight)

        def loss(step):
            seen.append(model.weight.item())
            return (model.weight - 1).square().sum()

        settings = LoopSettings(steps, 0.1, ema=0.9, checkpoint_every=1, validation_every=1)
        shown = []
        show = lambda step: shown.append(model.weight.item())  # noqa: E731
        fit(model, losses_of(loss), settings, tmp_path / name, "x", validate=show)
        return model.weight.item(), shown

    seen: list[float] = []
    weight, shown = run(6, "a.pt", seen)
    average = 0.0
    for n, value in enumerate([*seen[1:], None]):
        if value is not None:
            decay = 0.0 if n == 0 else min(0.9, (1 + n) / (10 + n))
            average = decay * average + (1 - decay) * value
            assert shown[n] == pytest.approx(average, rel=1e-5)
    assert shown[-1] == weight
    assert weight < 0.57  # the trained weight went 0.1 a step, to 0.6; the average lags behind
    # A second run of the same identity starts from the checkpoint of step 5 and ends at the same average.
    again: list[float] = []
    assert run(6, "a.pt", again)[0] == pytest.approx(weight, rel=1e-6)
    assert len(again) == 1


def test_rows_are_divided_among_micro_batches_and_announced(tmp_path):
    model = torch.nn.Linear(1, 1)
    asked, announced = [], []

    def losses(rows, following):
        asked.append(rows)
        announced.append(following)
        return losses_of(lambda step: model.weight.sum())(rows, following)

    fit(model, losses, LoopSettings(3, 0.1, batch=2, gradient_accumulation=2), tmp_path / "c.pt", "x")
    assert asked == [Rows(step, range(first, first + 2), 4) for step in range(3) for first in (0, 2)]
    assert announced == [*asked[1:], None]


def test_losses_are_counted_by_timestep():
    sums = bucket_sums(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 99, 999]), 1000)
    sums += bucket_sums(torch.tensor([7.0]), torch.tensor([500]), 1000)
    rows = [(row.first_timestep, row.last_timestep, row.loss, row.samples) for row in curve_rows(4, sums, 1000)]
    assert rows == [(0, 99, 2.0, 2), (500, 599, 7.0, 1), (900, 999, 5.0, 1)]
    # Every timestep of a schedule that the buckets do not divide lies in the bucket that names it.
    for t in range(37):
        [row] = curve_rows(1, bucket_sums(torch.ones(1), torch.tensor([t]), 37), 37)
        assert row.first_timestep <= t <= row.last_timestep


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "says mixed_precision fp16, the parameters say bf16"),
        ({"ACCELERATE_USE_FSDP": "true"}, "asked for fsdp; training is data-parallel only"),
        ({"ACCELERATE_USE_CPU": "False", "MASTER_ADDR": "127.0.0.1"}, "add --multi_gpu"),
    ],
)
def test_what_the_launcher_asks_for_is_done_or_refused(monkeypatch, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PanobenchError, match=message):
        start_processes("bf16")
