"""Plain service for the comparison: FastAPI, PyTorch eager, a full sort. Run by benchmarks/serving.py.

`python afternoon_service.py RUN PORT` serves the weights of Segue's artifact in RUN with the same requests and
responses.
"""

import json
import sys
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from safetensors.torch import load_file

run, port = Path(sys.argv[1]), int(sys.argv[2])
ids = json.loads((run / "catalog.json").read_text())
index = {item: n + 1 for n, item in enumerate(ids)}
weights = load_file(run / "weights.safetensors")
items = torch.nn.Embedding.from_pretrained(weights["table"])
dim = weights["table"].shape[1]
gru = torch.nn.GRU(dim, dim, batch_first=True)
gru.weight_ih_l0.data = weights["gru.0.input"]
gru.weight_hh_l0.data = weights["gru.0.state"]
gru.bias_ih_l0.data = weights["gru.0.input_bias"]
gru.bias_hh_l0.data = weights["gru.0.state_bias"]
gru.eval()
keys = torch.nn.functional.normalize(items.weight, dim=1)

app = FastAPI()


class RecommendRequest(BaseModel):
    history: list[str] = []
    k: int = 20


@app.post("/v1/recommend")
def recommend(request: RecommendRequest):  # type: ignore[no-untyped-def]
    """Return the best items; FastAPI runs a plain function in its thread pool."""
    seen = [index[item] for item in request.history if item in index]
    with torch.no_grad():
        if seen:
            states, _ = gru(items(torch.tensor([seen[-50:]])))
            query = torch.nn.functional.normalize(states[:, -1], dim=1) / 0.07
            scores = (query @ keys.T)[0]
        else:
            scores = torch.zeros(len(ids) + 1)
        order = torch.sort(scores, descending=True)
    excluded, best = {0, *seen}, []
    for score, item in zip(order.values[: request.k + len(excluded)].tolist(), order.indices.tolist(), strict=False):
        if item not in excluded:
            best.append({"id": ids[item - 1], "score": score})
    return {"items": best[: request.k]}


if __name__ == "__main__":
    torch.set_num_threads(2)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")
