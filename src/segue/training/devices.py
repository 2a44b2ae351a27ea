"""Device and precision of a training: names of settings resolved to torch objects."""

import torch


def resolve_device(name: str) -> torch.device:
    """Return the torch device of a name; auto: the GPU if one is available, else the CPU.

    Raises:
        ValueError: the name is no device, or a GPU that is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"There is no device '{name}': write cpu, cuda, cuda:1 ... or auto.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"There is no GPU for device '{name}' here, or this PyTorch cannot use it: take device cpu.")
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the large matrix products.

    Args:
        name: float32, bfloat16 or auto, which is bfloat16 if the device has instructions for it.
        device: device of the training.
    """
    if name == "auto":
        native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
        name = "bfloat16" if native else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
