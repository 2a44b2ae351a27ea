"""Optional packages: the extra of Segue that installs each module."""

import importlib.util

EXTRA_OF_MODULE = {
    **dict.fromkeys(("torch", "onnx", "onnxscript"), "train"),
    **dict.fromkeys(("httptools", "apsw", "onnxruntime", "prometheus_client"), "serve"),
    **dict.fromkeys(("implicit", "threadpoolctl"), "classic"),
    "statsmodels": "trend",
    "lightgbm": "gbdt",
    "faiss": "ann",
    "tensorboardX": "track",
}
"""Extra that installs an optional module; any other missing module is an error in Segue itself."""


def require_modules(work: str, *modules: str) -> None:
    """Check that optional modules are installed, without importing them.

    Args:
        work: the work that needs them, as the begin of a sentence.
        modules: names of top-level modules, keys of ``EXTRA_OF_MODULE``.

    Raises:
        ValueError: one is missing; the sentence names the extra.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            extra = EXTRA_OF_MODULE[module]
            raise ValueError(f"{work} needs {module}, which is not installed: pip install 'segue[{extra}]'.")
