"""Messages between an examination of a version and the process that it runs in."""

from msgspec import Struct

from segue.serving.deployment.golden_requests import GoldenRequest


class ExaminationTask(Struct):
    """Version to examine, and the limits."""

    folder: str
    approximate: bool
    time_s: float
    memory_bytes: int
    """Memory besides that of the program itself."""
    parent: int
    """Process id of the caller: the examination ends with it."""


class ExaminationResult(Struct):
    """Result of an examination: golden requests, or the reason of a refusal."""

    version: str = ""
    golden: list[GoldenRequest] = []
    refusal: str = ""
