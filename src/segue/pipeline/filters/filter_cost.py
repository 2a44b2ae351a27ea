"""Cost of a filter over a catalog: a request may not have more tests than a fraction of a second allows."""

from segue.config.expressions import Column, Compare, In, Joined, Node, Not, TextTest
from segue.pipeline.filters.item_columns import ItemColumns

MAX_COST = 100_000_000
"""Largest cost of the filter of one request, in comparisons of a number: about a tenth of a second."""
FREE_TEXT_TESTS = 4
"""Number of tests of a part of a text that a request's filter may have whatever they cost."""
TEXT_COST, COLUMNS_COST = 50, 300
"""Cost of a test of a part of a text for each text, and of a test between two columns for each item."""


def _cost(node: Node, columns: ItemColumns) -> int:
    """Return the cost of a filter, in comparisons of a number."""
    if isinstance(node, Joined):
        return sum(_cost(part, columns) for part in node.parts)
    if isinstance(node, Not):
        return columns.size + _cost(node.part, columns)
    if isinstance(node, TextTest):
        return TEXT_COST * columns.size
    is_pair = isinstance(node, Compare | In) and isinstance(node.left, Column) and isinstance(node.right, Column)
    return (COLUMNS_COST if is_pair else 2) * columns.size


def check_cost(tree: Node, columns: ItemColumns, max_cost: int) -> None:
    """Check the cost of a filter; a few tests are possible with any number of items.

    Args:
        tree: the parsed filter.
        columns: the items' columns.
        max_cost: largest cost, see ``MAX_COST``.

    Raises:
        ValueError: the filter costs more.
    """
    cost = _cost(tree, columns)
    if cost > max(max_cost, FREE_TEXT_TESTS * TEXT_COST * columns.size):
        raise ValueError(
            f"The filter has too many tests for {columns.size - 1:,} items: use fewer, or add a column that marks the "
            "wanted items, and filter by it."
        )
