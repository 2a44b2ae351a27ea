"""Ranges of settings: each bound, its words, None, and inheritance."""

from dataclasses import dataclass
from typing import Annotated

import pytest

from segue.config.ranges import Range, check_ranges, ranges_of


@dataclass(frozen=True)
class Base:
    layers: Annotated[int, Range(ge=1)] = 1

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Net(Base):
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.1
    clip: Annotated[float, Range(gt=0)] | None = 1.0
    share: Annotated[float, Range(ge=0, le=1)] = 0.5
    open_share: Annotated[float, Range(gt=0, lt=1)] = 0.5
    dilations: Annotated[tuple[int, ...], Range(ge=1)] = (1, 4)
    name: str = "net"


def test_the_ranges_of_a_class_are_its_own_and_its_bases() -> None:
    assert list(ranges_of(Net)) == ["layers", "dropout", "clip", "share", "open_share", "dilations"]
    Net(layers=1, dropout=0.0, clip=None, share=1.0, dilations=())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": 0}, "layers must be at least 1, got 0."),
        ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0."),
        ({"dropout": -0.1}, "dropout must be in [0, 1), got -0.1."),
        ({"clip": float("inf")}, "clip must be above 0, or none, got inf."),
        ({"dropout": float("nan")}, "dropout must be in [0, 1), got nan."),
        ({"clip": 0.0}, "clip must be above 0, or none, got 0.0."),
        ({"share": 1.01}, "share must be in [0, 1], got 1.01."),
        ({"open_share": 0.0}, "open_share must be above 0 and below 1, got 0.0."),
        ({"open_share": 1.0}, "open_share must be above 0 and below 1, got 1.0."),
        ({"dilations": (1, 0)}, "dilations must be at least 1, got (1, 0)."),
    ],
)
def test_a_value_outside_its_range_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Net(**values)
    assert str(caught.value) == message
