"""Settings of models from the command line: text of ``--set``, ``--features`` and ``--context`` to plain values."""

from pathlib import Path
from typing import Any


def parse_settings(assignments: list[str] | None, models: list[str]) -> dict[str, dict[str, Any]]:
    """Parse ``["gru4rec.embedding_dim=64", "epochs=3"]`` into the settings of each model.

    A name without a model goes to every model that has it. For an ensemble ("sasrec+vstan") names stay as they are:
    ``fit_ensemble`` passes them to its members.

    Args:
        assignments: texts of name=value; None: no settings.
        models: names of the models to run.

    Raises:
        ValueError: none of the models has such a setting, or its model is not among those to run.
    """
    from segue.config.decode import parse_assignments

    accepted = {model: _accepted_names(model) for model in models}
    settings: dict[str, dict[str, Any]] = {model: {} for model in models}
    for path, value in parse_assignments(assignments or []).items():
        owners = [model for model in models if path in accepted[model]]
        owner, _, name = path.rpartition(".")
        if not owners and owner in settings:
            settings[owner][name] = value  # no such setting: decoding refuses it and suggests a name
            continue
        if owner and not any(name.startswith(f"{owner}.") for names in accepted.values() for name in names):
            raise ValueError(f"'{path}' sets model '{owner}', which is not among those to run: {', '.join(models)}.")
        if not owners:
            known = sorted({name for names in accepted.values() for name in names if "." not in name})
            raise ValueError(
                f"Unknown setting '{path}'. Settings of {', '.join(models)}: {', '.join(known) or 'none'}."
            )
        for model in owners:
            settings[model][accepted[model][path]] = value
    return settings


def _accepted_names(model: str) -> dict[str, str]:
    """Map each name that a setting of this model may have on the command line to the name that ``fit_model`` takes."""
    from segue.workflows.fit_model import setting_names

    if "+" not in model:
        return {path: name for name in setting_names(model) for path in (name, f"{model}.{name}")}
    return {
        path: path
        for position, part in enumerate(model.split("+"), 1)
        for name in setting_names(part)
        for path in (name, f"{part}.{name}", f"{position}.{name}")
    }


def with_features(
    settings: dict[str, dict[str, Any]], features: str | None, items: Path | str | None, context: str | None = None
) -> dict[str, dict[str, Any]]:
    """Add ``features`` and ``contexts`` to the settings of the neural models.

    Args:
        settings: settings by model name.
        features: comma-separated columns of the items table; None: no features.
        items: file of the items table.
        context: comma-separated context columns of the log; None: no context.

    Raises:
        ValueError: features without an items table, or no neural model among the models.
    """
    from segue.models.zoo import is_neural

    added = parse_side_data(features, items, context)
    if not added:
        return settings
    neural = [name for name in settings if is_neural(name)]
    if not neural:
        option = "features" if context is None else "context"
        raise ValueError(f"Only neural models are trained on {option}, and there is none in {', '.join(settings)}.")
    return {name: {**added, **own} if name in neural else own for name, own in settings.items()}


def parse_side_data(features: str | None, items: Path | str | None, context: str | None) -> dict[str, list[str]]:
    """Return the columns of ``--features`` and ``--context`` by the names of the settings; those given only.

    Args:
        features: comma-separated columns of the items table; None: not given.
        items: file of the items table.
        context: comma-separated context columns of the log; None: not given.

    Raises:
        ValueError: features without an items table.
    """
    if features is not None and items is None:
        raise ValueError("--features names columns of an items table: name the table with --items.")
    columns = {"features": features, "contexts": context}
    return {name: parse_names(text) for name, text in columns.items() if text is not None}


def parse_names(text: str) -> list[str]:
    """Split comma-separated names.

    >>> parse_names("region, device")
    ['region', 'device']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_lengths(text: str) -> list[int]:
    """Parse comma-separated list lengths. ValueError for text that is not a whole number.

    >>> parse_lengths("5,10")
    [5, 10]
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"List lengths are whole numbers with commas between, as 5,10,20; got '{text}'.") from None
