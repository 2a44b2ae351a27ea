"""Files of a log: one file, the parts in a folder, or the files of a pattern with ``*``, ``?`` or ``[``."""

import glob
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LogFile:
    """One file of a log."""

    path: Path
    keys: dict[str, str]
    """Columns that stand in the names of folders, ``day=2024-05-01``, as Spark and Hive write them."""


def find_files(path: Path) -> list[LogFile]:
    """Return the files of a log in the order of their names.

    A path that exists is that file or folder, whatever characters it holds. Otherwise it may be a pattern. Files whose
    names, or the names of whose folders, begin with ``_`` or a dot are no parts of a folder.

    Args:
        path: a file, a folder of parts, or a pattern.

    Raises:
        ValueError: there is no such file, the folder holds no part, or a part is a link to no file.
    """
    if path.is_dir():
        names = [
            part
            for part in sorted(path.rglob("*"))
            if not any(name.startswith(("_", ".")) for name in part.relative_to(path).parts)
        ]
        if broken := [part for part in names if part.is_symlink() and not part.exists()]:
            raise ValueError(f"{broken[0]} is a link to no file, so that its rows would be lost: mend or remove it.")
        parts = [LogFile(part, _keys(part.relative_to(path))) for part in names if part.is_file()]
        if not parts:
            raise ValueError(f"{path} is a folder without files, not a log.")
        return parts
    if path.exists():
        return [LogFile(path, {})]
    if any(character in str(path) for character in "*?["):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        if files := [LogFile(match, {}) for match in matches if match.is_file()]:
            return files
        raise ValueError(f"There is no file {path}, and none that matches it as a pattern.")
    raise ValueError(f"There is no file {path}.")


def _keys(part: Path) -> dict[str, str]:
    pairs = [folder.partition("=") for folder in part.parts[:-1] if "=" in folder]
    return {name: value for name, _, value in pairs if name}
