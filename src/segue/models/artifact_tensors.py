"""Tensors of an artifact: name, dtype, shape and meaning, for every model, ranker and pipeline.

Shape letters: V catalog size with PAD, D embedding dimension, E input dimension, S stored sessions, users or sources,
M entries, T trees, P periods, F features, C context features, G gates or cohorts, L events of an item or items of a
list, K knots or sources, * any size. A letter has one value within a model. A part of a name in braces stands for a
number (``{layer}``, ``{position}``, ``{column}``, ``{model}``, ``{source}``) or for the rest of a name (``{tensor}``).
``segue.models.tensor_checks`` compares the tensors of a loaded artifact with this table.
"""

import re
from typing import NamedTuple

FILES = {
    "manifest.json": "Format number, model, settings, provenance (`about`), fingerprint of the catalog, size and "
    "SHA-256 of the other files. Written last.",
    "catalog.json": "Item ids; item index i is the i-th id, index 0 is PAD.",
    "items.json": "Displayed columns of each item, by item id.",
    "weights.safetensors": "The tensors below.",
}
"""Files of an artifact."""


class Tensor(NamedTuple):
    """One tensor, or a group of tensors with numbers in their names."""

    name: str
    dtype: str
    shape: str
    meaning: str
    values: str = "finite"
    """Valid values besides NaN, which is valid nowhere: "finite"; "finite or inf"; "finite or -inf"; "index of X", 0 to
    X - 1; "at most X", 0 to X; "equal to X"; "offsets into X", ascending from 0 to X; "above 0"; "ascending";
    "children", the later nodes of a tree. X is a shape letter or a number."""

    def matches(self, name: str) -> bool:
        """Return True if ``name`` is a name of this group."""
        pattern = re.escape(self.name).replace(r"\{tensor\}", ".+")
        return re.fullmatch(re.sub(r"\\\{\w+\\\}", r"\\d+", pattern), name) is not None


_POPULARITY = Tensor("popularity", "float32", "[V]", "Scaled number of events of each item; it breaks ties.")
_EMBEDDINGS = Tensor("item_embeddings", "float32", "[V, D]", "Item embeddings.")
_FOLD_IN = Tensor("fold_in", "float32", "[D, D]", "Map from the mean item embedding of a history to a user embedding.")


def _rows(meaning: str) -> tuple[Tensor, ...]:
    return (
        Tensor(
            "offsets",
            "int64",
            "[V + 1]",
            f"Row i of {meaning} has the entries offsets[i] to offsets[i + 1].",
            "offsets into M",
        ),
        Tensor("columns", "int32", "[M]", "Item index of each entry.", "index of V"),
        Tensor("values", "float32", "[M]", "Value of each entry."),
    )


_SESSIONS = (
    Tensor(
        "items",
        "int32",
        "[M]",
        "Distinct items of the stored sessions (users, in user-knn), one after the other.",
        "index of V",
    ),
    Tensor("offsets", "int64", "[S + 1]", "Session s has the items offsets[s] to offsets[s + 1].", "offsets into M"),
    Tensor("item_sessions", "int32", "[M]", "Sessions of each item, one item after the other.", "index of S"),
    Tensor("item_session_offsets", "int64", "[V + 1]", "Bounds of each item in item_sessions.", "offsets into M"),
    _POPULARITY,
    Tensor("times", "int64", "[S]", "Last event of each session, UTC microseconds; absent for a log without times."),
)


def _encoded_columns(prefix: str, letter: str) -> tuple[Tensor, ...]:
    return (
        Tensor(f"{prefix}.weights", "float32", f"[{letter}, *]", f"Embedding of each of the {prefix}."),
        Tensor(f"{prefix}.columns", "uint8", "[*]", "Names, types and widths of the columns, JSON."),
        Tensor(f"{prefix}.{{column}}.hashes", "int64", "[*]", "Hashes of a column's values or words.", "ascending"),
        Tensor(f"{prefix}.{{column}}.numbers", "float64", "[*]", "Mean, scale and deciles of a numeric column."),
    )


_NEURAL = (
    Tensor("table", "float32", "[V, *]", "Item table: item embeddings, or input and output embeddings side by side."),
    Tensor("start", "float32", "[V]", "Scores of an empty history."),
    *_encoded_columns("features", "F"),
    *_encoded_columns("contexts", "C"),
    Tensor("time.embeddings", "float32", "[*, *]", "Embeddings of time gaps and parts of the day, with `time_inputs`."),
    *(tensor._replace(name=f"prior.{tensor.name}") for tensor in (*_rows("the co-visitation weights"), _POPULARITY)),
    Tensor("prior.decay", "float64", "[1]", "Decay of the co-visitation prior."),
    Tensor("prior.weight", "float64", "[1]", "Weight of the co-visitation prior, with `covisitation_weight`."),
)
_NET = Tensor("net.{tensor}", "float32", "[...]", "Parameters of the network, by their names in `segue.training.nets`.")
_EXPORTED = (*_NEURAL, Tensor("encoder.onnx", "uint8", "[*]", "Encoder as an ONNX graph, with its parameters."), _NET)

TENSORS: dict[str, tuple[Tensor, ...]] = {
    "popularity": (Tensor("weight", "float32", "[V]", "Number of events of each item, weighted by age."),),
    "trend": (
        Tensor("forecast", "float32", "[V]", "Forecast number of events in the next period."),
        Tensor("baseline", "float32", "[V]", "Mean number of events over all periods."),
        Tensor("events", "int64", "[V]", "Number of events of each item."),
        Tensor("recent", "int32", "[V, P]", "Number of events in each of the newest periods, oldest first."),
    ),
    "markov": (
        *_rows("the transition probabilities"),
        Tensor("backoff", "float32", "[V]", "Probability that is left to the items before, by last item."),
        Tensor("item_share", "float32", "[V]", "Share of each item in all events."),
    ),
    "covisit": (*_rows("the co-visitation weights"), _POPULARITY),
    "item-knn": (*_rows("the item similarities"), _POPULARITY),
    "content-knn": (*_rows("the item similarities"), _POPULARITY),
    "ease": (*_rows("the regression weights"), _POPULARITY),
    "session-knn": _SESSIONS,
    "user-knn": _SESSIONS,
    "vsknn": _SESSIONS,
    "vstan": _SESSIONS,
    "spectral": (_EMBEDDINGS, _POPULARITY),
    "ials": (_EMBEDDINGS, _POPULARITY),
    "bpr": (_EMBEDDINGS, Tensor("item_bias", "float32", "[V]", "Item biases."), _FOLD_IN, _POPULARITY),
    "fpmc": (
        Tensor("item_embeddings", "float32", "[V, 2 D]", "Item embeddings for preference and for the next item."),
        Tensor("last_item_embeddings", "float32", "[V, D]", "Embeddings of an item as the last item."),
        _FOLD_IN,
        _POPULARITY,
    ),
    "gru4rec": (
        *_NEURAL,
        Tensor("gru.{layer}.input", "float32", "[G D, E]", "Input weights of the G gates; absent for one-hot input."),
        Tensor("gru.{layer}.state", "float32", "[G D, D]", "State weights of the G gates."),
        Tensor("gru.{layer}.input_bias", "float32", "[G D]", "Input biases."),
        Tensor("gru.{layer}.state_bias", "float32", "[G D]", "State biases."),
    ),
    "seq2seq": (*_NEURAL, _NET),
    **dict.fromkeys(("sasrec", "lrurec", "hstu", "bert4rec", "caser", "nextitnet"), _EXPORTED),
    "ensemble": (
        Tensor("weights", "float64", "[M]", "Weight of each member."),
        Tensor("{position}.{tensor}", "any", "[...]", "Tensors of a member, as in an artifact of its own."),
    ),
    "ranker": (
        _NET,
        Tensor("calibration.raw", "float64", "[K]", "Log odds before calibration.", "ascending"),
        Tensor("calibration.calibrated", "float64", "[K]", "Calibrated log odds of the same knots.", "ascending"),
        Tensor("calibration.slopes", "float64", "[2]", "Slopes below the first and above the last knot."),
        Tensor(
            "item_histories.previous_items",
            "int32",
            "[V, L]",
            "Item before each of an item's newest events.",
            "index of V",
        ),
        Tensor("item_histories.buckets", "uint8", "[V, L, 3]", "Time features of these events.", "index of 64"),
        Tensor("item_histories.times", "int64", "[V, L]", "Times of these events, UTC microseconds."),
        Tensor("item_histories.lengths", "int64", "[V]", "Number of stored events of each item.", "at most L"),
        Tensor("item_histories.totals", "int64", "[V]", "Number of all events of each item."),
    ),
    "again": (Tensor("size", "int64", "[1]", "V.", "equal to V"),),
    "new": (Tensor("score", "float32", "[V]", "Score of each new item, -inf for all others.", "finite or -inf"),),
    "list": (
        Tensor("items", "int32", "[L]", "Items of the list, best first.", "index of V"),
        Tensor("size", "int64", "[1]", "V.", "equal to V"),
    ),
    "pipeline": (
        Tensor("model.{model}.{tensor}", "any", "[...]", "Tensors of a source's model; models are numbered once."),
        Tensor("index.{source}", "uint8", "[*]", "Approximate index of a source, faiss."),
        Tensor("blend.weights", "float64", "[G, F]", "Weights of the features for each cohort of users."),
        Tensor("blend.edges", "int64", "[G]", "Least history length of each cohort.", "ascending"),
        Tensor("blend.bounds", "float32", "[2, F]", "Smallest and largest value of each feature in training."),
        Tensor("trees.roots", "int32", "[T]", "First node of each boosted tree.", "index of M"),
        Tensor("trees.feature", "int32", "[M]", "Feature that a node tests: greater than its threshold."),
        Tensor("trees.threshold", "float64", "[M]", "Threshold of a node; infinity in a leaf.", "finite or inf"),
        Tensor(
            "trees.child",
            "int32",
            "[M]",
            "Next node if the test is false; if it is true, the node after it.",
            "children",
        ),
        Tensor("trees.value", "float64", "[M]", "Value of a leaf."),
        Tensor("cold_start.sources", "int64", "[K]", "Sources that score items without events.", "index of S"),
        Tensor("cold_start.weights", "float64", "[K]", "Their weights."),
        Tensor("cold_start.level", "float64", "[1]", "Score level of items without events."),
        Tensor("cold_start.mixture", "float64", "[5]", "Fields of `TemperatureMixture` for items with events."),
        Tensor("scales.log", "bool", "[S]", "True for a source whose scores are counts, compared by ratio."),
        Tensor(
            "scales.spread",
            "float32",
            "[S]",
            "Standard deviation of a source's logits within a history; 1 for counts.",
            "above 0",
        ),
        Tensor("item_statistics.counts", "int64", "[V]", "Number of events of each item."),
        Tensor("item_statistics.first", "int64", "[V]", "First event of each item, UTC microseconds."),
        Tensor("item_statistics.recent", "float32", "[V]", "Log ratio of the shares in recent and in all events."),
        Tensor("item_statistics.age", "float32", "[V]", "log(1 + days since the first event)."),
        Tensor("ranker.{tensor}", "any", "[...]", "Tensors of the ranker, as in an artifact of its own."),
    ),
}
"""Tensors by model of the zoo, source of a pipeline, and kind of artifact. Optional tensors are included."""


def find_tensor(model: str, name: str) -> Tensor | None:
    """Return the description of a tensor.

    Args:
        model: name in the zoo, names with '+' between them, or another key of ``TENSORS``.
        name: name of a tensor in the artifact.

    Returns:
        None if the table has no such tensor.
    """
    if "+" in model and name != "weights":
        position, _, own_name = name.partition(".")
        members = model.split("+")
        return find_tensor(members[int(position)], own_name) if position in map(str, range(len(members))) else None
    listed = TENSORS["ensemble" if "+" in model else model]
    return next((tensor for tensor in listed if tensor.matches(name)), None)
