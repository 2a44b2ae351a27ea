"""Models of the zoo as Python classes, made from the table below; ``recommenders.pyi`` has their signatures."""

from segue.estimators.estimator import Recommender

CLASSES: dict[str, tuple[str, str]] = {
    "Popularity": ("popularity", "Items by number of events, the same list for every user."),
    "Trend": ("trend", "Items by their forecast demand in the next period."),
    "Markov": ("markov", "Markov chain: transition probabilities from the newest items of the history."),
    "CoVisit": ("covisit", "Co-visitation: items counted soon after, or before, the newest items of the history."),
    "ItemKNN": (
        "item-knn",
        "Item-kNN: cosine similarity of items by their users (Sarwar et al. 2001; Deshpande & Karypis 2004).",
    ),
    "UserKNN": ("user-knn", "User-kNN: users with common items vote for their other items (Herlocker et al. 1999)."),
    "SessionKNN": ("session-knn", "Session-kNN: the most similar recent sessions vote for their items."),
    "VSKNN": (
        "vsknn",
        "VS-kNN: similar sessions vote, newer events weigh more (Ludewig & Jannach 2018, section 3.1).",
    ),
    "VSTAN": ("vstan", "VSTAN: similar sessions vote, weighted by five decays (Ludewig et al. 2020)."),
    "Spectral": ("spectral", "Spectral item embeddings: the SVD of the PPMI of co-occurrences, without training."),
    "IALS": ("ials", "iALS: matrix factorization by alternating least squares (Hu, Koren & Volinsky 2008)."),
    "BPR": ("bpr", "BPR: matrix factorization that ranks a user's items above all others (Rendle et al. 2009)."),
    "EASE": ("ease", "EASE: linear regression of each item on all others, in closed form (Steck 2019)."),
    "FPMC": ("fpmc", "FPMC: factorized user preferences plus factorized item transitions (Rendle et al. 2010)."),
    "GRU4Rec": (
        "gru4rec",
        "GRU4Rec: recurrent network over the events (Hidasi et al. 2016; Hidasi & Karatzoglou 2018).",
    ),
    "SASRec": ("sasrec", "SASRec: causal transformer over the history (Kang & McAuley 2018)."),
    "LRURec": ("lrurec", "LRURec: layers of linear recurrence (Yue et al. 2024, after Orvieto et al. 2023)."),
    "HSTU": ("hstu", "HSTU: gated layers of pointwise attention over distances and times (Zhai et al. 2024)."),
    "BERT4Rec": ("bert4rec", "BERT4Rec: bidirectional transformer that predicts masked events (Sun et al. 2019)."),
    "Caser": ("caser", "Caser: convolutions over the newest events (Tang & Wang 2018), without user embeddings."),
    "NextItNet": ("nextitnet", "NextItNet: dilated causal convolutions with residuals (Yuan et al. 2019)."),
    "Seq2SeqRec": (
        "seq2seq",
        "Seq2SeqRec: encoder of the history, and decoder with attention that generates the next items.",
    ),
}
"""Class name: (name of the model, first line of the documentation)."""


def _recommender(name: str, model: str, summary: str) -> type[Recommender]:
    return type(name, (Recommender,), {"model": model, "summary": summary, "__module__": __name__})


globals().update({name: _recommender(name, *row) for name, row in CLASSES.items()})
