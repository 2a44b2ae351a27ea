"""Ranges of settings, declared in the type and checked when a settings object is made.

A field states its range beside its type::

    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.2

and ``check_ranges(self)`` in ``__post_init__`` refuses a value outside it. None is not checked.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Any, get_type_hints


@dataclass(frozen=True)
class Range:
    """Bounds of a number: ``ge`` and ``le`` belong to the range, ``gt`` and ``lt`` do not; None: no bound."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def contains(self, value: float) -> bool:
        """Return True if a number lies in the range; infinity and NaN never do."""
        return not (
            not math.isfinite(value)
            or (self.ge is not None and value < self.ge)
            or (self.gt is not None and value <= self.gt)
            or (self.le is not None and value > self.le)
            or (self.lt is not None and value >= self.lt)
        )

    def __str__(self) -> str:
        """Return the range in words, to stand behind "must be": ``at least 1``, ``above 0``, ``in [0, 1)``."""
        low = f"at least {self.ge:g}" if self.ge is not None else f"above {self.gt:g}" if self.gt is not None else ""
        high = f"at most {self.le:g}" if self.le is not None else f"below {self.lt:g}" if self.lt is not None else ""
        if self.ge is not None and high:
            return f"in [{self.ge:g}, " + (f"{self.le:g}]" if self.le is not None else f"{self.lt:g})")
        return " and ".join(part for part in (low, high) if part)


@functools.cache
def ranges_of(config: Any) -> dict[str, Range]:
    """Return the declared range of each field of a settings class, by the field's name."""
    hints = get_type_hints(config, include_extras=True)
    ranges = ((field.name, _range_of(hints[field.name])) for field in dataclasses.fields(config))
    return {name: bounds for name, bounds in ranges if bounds is not None}


def _range_of(hint: Any) -> Range | None:
    """Return the ``Range`` of an ``Annotated`` type, also of one that is part of a union; None without one."""
    for part in (*getattr(hint, "__metadata__", ()), *getattr(hint, "__args__", ())):
        if isinstance(part, Range):
            return part
        if (inner := _range_of(part)) is not None:
            return inner
    return None


def check_ranges(config: Any) -> None:
    """Check every field with a declared range.

    Args:
        config: an instance of a dataclass.

    Raises:
        ValueError: a field lies outside its range. The message names the field, the range and the value, and
            states if None is allowed: ``max_grad_norm must be above 0, or none, got -1.0.``
    """
    for name, bounds in ranges_of(config.__class__).items():
        value = getattr(config, name)
        values = value if isinstance(value, tuple) else (value,)
        if any(number is not None and not bounds.contains(number) for number in values):
            optional = ", or none" if _may_be_none(config.__class__, name) else ""
            raise ValueError(f"{name} must be {bounds}{optional}, got {value}.")


@functools.cache
def _may_be_none(config: Any, name: str) -> bool:
    return type(None) in getattr(get_type_hints(config)[name], "__args__", ())
