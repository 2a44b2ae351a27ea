"""Command ``segue demo``: a small shop in the browser whose recommendations follow the clicks."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from segue.cli.output import err


def demo(
    run: Annotated[
        Path | None,
        typer.Argument(help="A model with titles; without one a co-visitation model of the bundled log is fitted."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one.")] = 8000,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the model and the events.")] = Path("runs/demo"),
) -> None:
    """Show a small shop at http://127.0.0.1:8000: click on items, and see the recommendations change.

    \b
    Example:
      segue demo
    """
    from segue.serving.config import AccessConfig, ServingConfig
    from segue.serving.server import serve

    if run is None:
        run = folder
        if not (folder / "manifest.json").exists():
            err.print("Fitting a co-visitation model on the bundled log ...", markup=False)
            _fit_bundled_log(folder)
    data = folder.with_name(folder.name + "-data")
    shutil.rmtree(data, ignore_errors=True)
    serve(
        run,
        data_dir=data,
        port=port,
        config=ServingConfig(access=AccessConfig(show_demo=True)),
        notify=lambda line: err.print(
            line.replace("its description is", "open it in a browser; its description is"), markup=False
        ),
    )


def _fit_bundled_log(folder: Path) -> None:
    from segue.data.datasets.online_retail import load_online_retail
    from segue.estimators.recommenders import CoVisit

    log, items = load_online_retail()
    CoVisit().fit(log, items=items).save(folder)
