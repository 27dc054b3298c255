"""Things found by name and imported on first use, with the nearest name suggested for an unknown one."""

import importlib
from collections.abc import Mapping
from typing import Generic, TypeVar, cast

from core.errors import PanobenchError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Names, each with the ``module:attribute`` where the thing lives; nothing is imported before it is asked for."""

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind  # what an entry is, for messages: "metric"
        self._entries = dict(entries)

    def names(self) -> list[str]:
        """All names, in the order given."""
        return list(self._entries)

    def get(self, name: str) -> T:
        """The thing of this name.

        Raises:
            PanobenchError: no such name.
        """
        if name not in self._entries:
            hint = did_you_mean(name, self.names()) or f"; known: {', '.join(self._entries)}"
            raise PanobenchError(f"unknown {self.kind} '{name}'{hint}")
        module, attribute = self._entries[name].split(":")
        return cast(T, getattr(importlib.import_module(module), attribute))
