"""Checks of options that a command needs late, made before it reads or computes anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli.output import err
from segue.config.names import normalize_name
from segue.data.splits.split import PROTOCOLS, check_protocol_name
from segue.system.extras import require_modules
from segue.system.folder_use import is_in_use

if TYPE_CHECKING:
    from segue.pipeline.config import PipelineConfig

Replace = Annotated[
    bool,
    typer.Option("--replace", help="Write to --out although a server follows that folder: it deploys the new model."),
]


def check_out(folder: Path, *, replace: bool = False, quiet: bool = False) -> None:
    """Check the folder that a model is to be written to, and report a model there that will be replaced.

    Args:
        folder: the folder.
        replace: a model that is being served may be replaced.
        quiet: no report.

    Raises:
        ValueError: the folder is a link or a file, holds something else, or is being served.
        OSError: it cannot be written.
    """
    from segue.models import artifact

    artifact.check_target(folder)
    if is_in_use(folder) and not replace:
        raise ValueError(
            f"{folder} is being served, and the server would deploy what is written there: choose another --out and "
            "promote it, or write --replace."
        )
    if not quiet and (folder / artifact.MANIFEST).exists():
        err.print(f"{folder} holds a model, which is replaced at the end.", markup=False)


def check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Check the file that a result is to be written to.

    Args:
        path: the file.
        suffixes: endings that a file may have.

    Raises:
        ValueError: another ending, or the path is a folder, or lies in a file.
    """
    if path.suffix not in suffixes:
        raise ValueError(f"{path} should end in {', '.join(suffixes[:-1])} or {suffixes[-1]}.")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not parent.is_dir():
        raise ValueError(f"{path} cannot be written: {'it is a folder' if path.is_dir() else f'{parent} is a file'}.")


def check_protocol(name: str) -> None:
    """Check the protocol of a training. ValueError for an unknown one, and for "fixed", which needs a test log."""
    check_protocol_name(name)
    if name.strip().lower() == "fixed":
        others = ", ".join(protocol for protocol in PROTOCOLS if protocol != "fixed")
        raise ValueError(
            f"Protocol fixed needs a test log, which only 'segue compare --test' takes: train with one of {others}."
        )


def check_inputs(*paths: Path | str | None) -> None:
    """Raise ValueError if a named file is missing, before any other is read; None: not named."""
    for path in paths:
        if path is not None and not Path(path).exists() and not set("*?[") & set(str(path)):
            raise ValueError(f"There is no file {path}.")


def check_pipeline(config: "PipelineConfig") -> None:
    """Check names, settings and packages of a pipeline.

    Raises:
        ValueError: an unknown source or ranker, a wrong setting, or a package that is not installed.
    """
    from segue.config.decode import decode_settings
    from segue.models.rankers.ranker import RANKERS
    from segue.pipeline.candidates.builtin_sources import BUILTIN_SOURCES
    from segue.workflows.fit_model import check_model
    from segue.workflows.pipelines.fit_sources import with_canonical_names

    for source in with_canonical_names(config).source:
        if source.model in BUILTIN_SOURCES:
            decode_settings(BUILTIN_SOURCES[source.model].config, source.settings, f"{source.display_name}.")
        else:
            check_model(source.model, source.settings)
        if source.index == "approximate":
            require_modules("An approximate index", "faiss")
    if config.rank.method == "trees":
        require_modules("Ranking by trees", "lightgbm")
    if config.rank.model is not None and normalize_name(config.rank.model) in RANKERS:
        check_ranker(config.rank.model, config.rank.settings)


def check_ranker(name: str, settings: Mapping[str, Any]) -> None:
    """Check the name and the settings of a click ranker that is to be trained, and its packages.

    Args:
        name: name of the ranker.
        settings: settings of the ranker, of its training and of the sampling, by name.

    Raises:
        ValueError: an unknown ranker or setting, or PyTorch is not installed.
    """
    from segue.config.decode import decode_settings, split_by_config
    from segue.models.rankers.ranker import find_ranker
    from segue.training.rankers.candidate_sampling import CandidateSamplingConfig
    from segue.training.rankers.config import RankerTrainingConfig

    kinds = {"model": find_ranker(name).config, "training": RankerTrainingConfig, "sampling": CandidateSamplingConfig}
    for kind, values in split_by_config(settings, kinds).items():
        decode_settings(kinds[kind], values)
    require_modules(f"Training {name}", "torch")
