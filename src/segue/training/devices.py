"""Where a net is trained, and in which precision: settings' words -> torch's own."""

import torch


def resolve_device(name: str) -> torch.device:
    """auto: a GPU where there is one. ValueError for a GPU that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"There is no GPU for device '{name}' here, or this PyTorch cannot use it: take device cpu.")
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """bfloat16 only where it is asked for, or where the processor has instructions for it."""
    if name == "auto":
        native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
        name = "bfloat16" if native else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
