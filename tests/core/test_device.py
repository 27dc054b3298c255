"""Where networks run, and how finely a GPU counts there."""

import pytest
import torch

from core.device import default_device, full_float32, named_device
from core.errors import PanobenchError


def test_the_variable_says_where_networks_run(monkeypatch):
    monkeypatch.setenv("PANOBENCH_DEVICE", "cpu")
    assert default_device() == torch.device("cpu")
    monkeypatch.setenv("PANOBENCH_DEVICE", "")
    assert default_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setenv("PANOBENCH_DEVICE", "gpu")
    with pytest.raises(PanobenchError, match="PANOBENCH_DEVICE: 'gpu' is no device"):
        default_device()


def machine_with(monkeypatch, devices: int) -> None:
    """What torch says on a machine with so many CUDA devices; no device is used."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)


@pytest.mark.parametrize(
    ("devices", "name", "message"),
    [
        (0, "cuda", "--device: 'cuda' cannot be used: there is no CUDA device here"),
        (0, "cuda:0", "--device: 'cuda:0' cannot be used: there is no CUDA device here"),
        (2, "cuda:2", "--device: 'cuda:2' cannot be used: the last CUDA device is cuda:1"),
    ],
)
def test_a_cuda_device_that_is_not_here_is_refused(monkeypatch, devices, name, message):
    machine_with(monkeypatch, devices)
    with pytest.raises(PanobenchError, match=message):
        named_device(name, "--device")


def test_cuda_devices_that_are_here(monkeypatch):
    machine_with(monkeypatch, 2)
    assert named_device("cuda", "--device") == torch.device("cuda")
    assert named_device("cuda:1", "--device") == torch.device("cuda:1")


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
