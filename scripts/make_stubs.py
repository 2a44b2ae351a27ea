"""Writes src/segue/estimators/recommenders.pyi, the signatures and documentation of the recommender classes, for
editors and type checkers, from the settings of each model.

  python scripts/make_stubs.py           writes it
  python scripts/make_stubs.py --check   exits with 1 when it is stale

Needs the project's environment; scripts/test checks it.
"""

import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "src" / "segue" / "estimators" / "recommenders.pyi"


def stub() -> str:
    """Return the text of the stub file."""
    import inspect

    from segue.estimators import recommenders
    from segue.estimators.settings_help import type_text

    lines = ["# Made by scripts/make_stubs.py from the settings of each model.", "from typing import Literal", ""]
    lines += ["from segue.estimators.estimator import Recommender", "", "CLASSES: dict[str, tuple[str, str]]"]
    for name in recommenders.CLASSES:
        kind = getattr(recommenders, name)
        doc = textwrap.indent(kind.__doc__, "    ").replace("\\", "\\\\").splitlines()
        lines += ["", f"class {name}(Recommender):", f'    """{doc[0].strip()}', *doc[1:], '    """', ""]
        lines += ["    def __init__(", "        self,", "        *,"]
        for parameter in inspect.signature(kind).parameters.values():
            default = repr(parameter.default).replace("'", '"')
            hint = type_text(parameter.annotation).replace("'", '"')
            if hint.startswith("tuple["):  # settings take lists too
                hint += f" | list[{hint.removeprefix('tuple[').removesuffix(', ...]')}]"
            lines.append(f"        {parameter.name}: {hint} = {default},")
        lines.append("    ) -> None: ...")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def main() -> int:
    """Write the file, or only report that it is stale."""
    wanted = stub()
    if STUB.exists() and STUB.read_text(encoding="utf-8") == wanted:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{STUB.relative_to(ROOT)} is stale: run scripts/make_stubs.py.")
        return 1
    STUB.write_text(wanted, encoding="utf-8")
    print(f"wrote {STUB.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
