from pathlib import Path

import pytest

from tests.tiny import write_tiny_base


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a tiny random base and its motion adapter."""
    return write_tiny_base(tmp_path_factory.mktemp("tiny"))
