"""Numbers in documents: each quoted constant is formatted from the code and looked for in its page."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import pytest

from segue.data.features import feature_column
from segue.data.readers import ids
from segue.data.splits.leave_n_out import leave_last_n_out
from segue.evaluation.bootstrap import bootstrap_intervals
from segue.models.retrieval import product_quantization, retriever
from segue.pipeline.candidates import builtin_sources, vector_index
from segue.pipeline.config import BlendConfig, RankConfig
from segue.serving.config import AttributionConfig, BatchingConfig, ServingConfig, SessionsConfig
from segue.serving.experiments import attribution, statistics
from segue.serving.http import app, connections, listener, request_head
from segue.serving.schemas.requests import EventBatch, K, RecommendRequest
from segue.serving.store import event
from segue.serving.workers import messages, supervisor, worker_process
from segue.training import memory_budget
from segue.training.checkpoints.checkpoint import Checkpoint
from segue.workflows import fit_blend, fit_neural

ROOT = Path(__file__).resolve().parent.parent


class Quote(NamedTuple):
    """A constant that a page quotes."""

    page: str
    text: str
    """Fragment of the page; ``{}`` stands for the number."""
    value: float


def default(function: Callable[..., Any], parameter: str) -> Any:
    """Return the default of a function's parameter."""
    return inspect.signature(function).parameters[parameter].default


def max_length(struct: type, field: str) -> int:
    """Return the declared maximum length of a field of a request."""
    hint = get_type_hints(struct, include_extras=True)[field]
    parts = [part for part in (hint, *getattr(hint, "__args__", ())) if hasattr(part, "__metadata__")]
    return int(parts[0].__metadata__[0].max_length)


GUIDE = "docs/guide/"
BATCHING, ATTRIBUTION = BatchingConfig(), AttributionConfig()
QUOTES = [
    Quote(GUIDE + "data.md", "longer than {} characters", ids.MAX_ID_CHARS),
    Quote(GUIDE + "data.md", "in {} bins", feature_column.BINS),
    Quote(GUIDE + "evaluation.md", "(n = {})", default(leave_last_n_out, "n")),
    Quote(GUIDE + "evaluation.md", "with {:,} resamples", default(bootstrap_intervals, "resamples")),
    Quote(GUIDE + "training.md", "`full` up to {:,} items", memory_budget.FULL_ITEMS),
    Quote(GUIDE + "training.md", "up to {:,} validation cases", fit_neural.VALIDATION_CASES),
    Quote(GUIDE + "training.md", "every {:g} seconds", Checkpoint.every_s),
    Quote(GUIDE + "pipeline.md", "up to {:g} days old", builtin_sources.NewItemsConfig.max_age_days),
    Quote(GUIDE + "pipeline.md", "recall is at least {:g}", vector_index.MIN_RECALL),
    Quote(GUIDE + "pipeline.md", "fewer than {} validation cases", fit_blend.MIN_CASES),
    Quote(GUIDE + "pipeline.md", "{} best candidates", RankConfig.num_candidates),
    Quote(GUIDE + "pipeline.md", "and {} or more", BlendConfig.cohorts[-1]),
    Quote(GUIDE + "serving.md", "at most {} at a time", BATCHING.max_batch_size),
    Quote(GUIDE + "serving.md", "holds {:,} requests", BATCHING.queue_size),
    Quote(GUIDE + "serving.md", "above {:g} ms", BATCHING.max_queue_delay_ms),
    Quote(GUIDE + "serving.md", "after {:g} ms", BATCHING.timeout_ms),
    Quote(GUIDE + "serving.md", "`k` is {} by default", RecommendRequest.__struct_defaults__[4]),
    Quote(GUIDE + "serving.md", "and at most {}.", K.__metadata__[0].le),
    Quote(GUIDE + "serving.md", "batch of up to {:,}", max_length(EventBatch, "events")),
    Quote(GUIDE + "serving-requests.md", "`k` below 1 or above {}", K.__metadata__[0].le),
    Quote(GUIDE + "serving-requests.md", "more than {:,} items", max_length(RecommendRequest, "history")),
    Quote(GUIDE + "serving-requests.md", "`SessionsConfig.max_length` ({})", SessionsConfig.max_length),
    Quote(GUIDE + "serving-requests.md", "body above {:,} bytes", app.MAX_BODY_BYTES),
    Quote(GUIDE + "serving-requests.md", "up to {:g} minutes in the future", event.FUTURE_US / 60e6),
    Quote(GUIDE + "deployment.md", "within {:g} seconds is ended and replaced", messages.MAX_STALL_S),
    Quote(GUIDE + "deployment.md", "sends nothing for {:g} seconds", messages.MAX_STALL_S),
    Quote(GUIDE + "deployment.md", "stuck for {:g} seconds", worker_process.MAX_LAG_S),
    Quote(GUIDE + "deployment.md", "catalogs of {:,} items or more", retriever.EXACT_SEARCH_MIN_ITEMS),
    Quote(GUIDE + "deployment.md", "Below {:g} % the search stays exact", 100 * product_quantization.MIN_RECALL),
    Quote(GUIDE + "deployment.md", "within {:g} hours", ATTRIBUTION.window_s / 3600),
    Quote(GUIDE + "deployment.md", "broken below p = {:g}", statistics.SAMPLE_RATIO_ALPHA),
    Quote(GUIDE + "deployment.md", "newest {:,} lists", ATTRIBUTION.max_lists),
    Quote(GUIDE + "deployment.md", "every {:g} seconds", attribution._FLUSH_S),
    Quote(GUIDE + "deployment.md", "at most {:,} bytes and", request_head.MAX_HEAD_BYTES),
    Quote(GUIDE + "deployment.md", "and {} headers", request_head.MAX_HEADERS),
    Quote(GUIDE + "deployment.md", "a body {:,} bytes.", app.MAX_BODY_BYTES),
    Quote(GUIDE + "deployment.md", "After {} responses in a row", connections.MAX_REFUSED),
    Quote(GUIDE + "deployment.md", "At most {:,} connections", listener.MAX_CONNECTIONS),
    Quote(GUIDE + "deployment.md", "{:,} bytes in sum", connections.MAX_BODY_BYTES_HELD),
    Quote(GUIDE + "deployment.md", "incomplete heads {:,}", connections.MAX_HEAD_BYTES_HELD),
    Quote(GUIDE + "deployment.md", "more than {:,} bytes are refused", connections.SMALL_BYTES),
    Quote(GUIDE + "deployment.md", "the grace of {:g} seconds", ServingConfig.grace_s),
    Quote(GUIDE + "deployment.md", "cut off after {:g} %", 100 * listener.RESPONSES_SHARE),
    Quote(GUIDE + "deployment.md", "killed after {:g} %", 100 * supervisor.STOP_SHARE),
]


def missing_quotes(quotes: list[Quote], read: Callable[[str], str]) -> Iterator[str]:
    """Yield the fragments that their pages do not contain.

    Args:
        quotes: the table.
        read: page -> its text, in which line breaks count as spaces.
    """
    for quote in quotes:
        fragment = quote.text.format(quote.value)
        if fragment not in " ".join(read(quote.page).split()):
            yield f"{quote.page} does not contain '{fragment}'"


def read_page(name: str) -> str:
    """Return the text of a page of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_quoted_numbers_are_those_of_the_code() -> None:
    assert list(missing_quotes(QUOTES, read_page)) == []


@pytest.mark.parametrize("quote", QUOTES, ids=lambda q: q.text)
def test_another_number_in_the_code_would_be_seen(quote: Quote) -> None:
    assert list(missing_quotes([quote._replace(value=quote.value + 1)], read_page))
