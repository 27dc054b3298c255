"""Where networks run, and how finely a GPU counts there."""

import pytest
import torch

from core.device import default_device, full_float32
from core.errors import PanobenchError


def test_the_variable_says_where_networks_run(monkeypatch):
    monkeypatch.setenv("PANOBENCH_DEVICE", "cuda:1")
    assert default_device() == torch.device("cuda:1")
    monkeypatch.setenv("PANOBENCH_DEVICE", "")
    assert default_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setenv("PANOBENCH_DEVICE", "gpu")
    with pytest.raises(PanobenchError, match="PANOBENCH_DEVICE: 'gpu' is no device"):
        default_device()


@pytest.fixture
def switches():
    """The two switches of TF32, put back afterwards."""
    found = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in found]
    yield found
    for switch, value in zip(found, before, strict=True):
        switch.allow_tf32 = value


@pytest.mark.parametrize("before", [False, True])
def test_full_float32_leaves_the_switches_as_it_found_them(switches, before):
    for switch in switches:
        switch.allow_tf32 = before

    def fail():
        with full_float32():
            assert not any(switch.allow_tf32 for switch in switches)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert all(switch.allow_tf32 == before for switch in switches)
