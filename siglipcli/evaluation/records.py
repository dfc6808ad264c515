"""How the frozen records of an evaluation become dictionaries and data frames."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from siglipcli.errors import UsageError

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Record"]


class Record:
    """A dataclass with `labels`, one record for each label."""

    __slots__ = ()
    labels: tuple[Any, ...]

    def __repr__(self) -> str:
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        values = {name: getattr(self, name) for name in names}
        numbers = [f"{k}={v:.4g}" for k, v in values.items() if isinstance(v, (int, float))]
        count = len(self.labels)
        shown = [*numbers, f"{count:,} label{'s' * (count != 1)}"]
        return f"<{type(self).__name__}: {', '.join(shown)}>"

    def to_dict(self) -> dict[str, Any]:
        """Return every figure as plain dictionaries, lists and numbers."""
        plain: dict[str, Any] = _plain(asdict(self))  # type: ignore[call-overload]
        return plain

    def to_frame(self) -> DataFrame:
        """Return a pandas DataFrame of a row for each label. Raises UsageError without pandas."""
        try:
            from pandas import json_normalize
        except ImportError as missing:
            message = "a data frame needs pandas. Install it with: pip install pandas"
            raise UsageError(message, code="missing_extra", library="pandas") from missing
        return json_normalize(self.to_dict()["labels"])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
