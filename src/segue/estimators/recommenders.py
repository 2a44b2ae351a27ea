"""The models of the zoo as Python classes, one for each name."""

from segue.estimators.estimator import Recommender


class Popularity(Recommender):
    """What most people take."""

    model = "popularity"


class Trend(Recommender):
    """What is wanted more and more, forecast from the demand of the periods before."""

    model = "trend"


class Markov(Recommender):
    """What followed the last item before."""

    model = "markov"


class CoVisit(Recommender):
    """What comes soon after the latest items."""

    model = "covisit"


class ItemKNN(Recommender):
    """What the same people took."""

    model = "item-knn"


class SessionKNN(Recommender):
    """What went on in sessions like this one, near the shared items."""

    model = "session-knn"


class Spectral(Recommender):
    """Item vectors from co-occurrence alone, without training."""

    model = "spectral"


class IALS(Recommender):
    """Matrix factorization by alternating least squares; a history is folded in exactly."""

    model = "ials"


class BPR(Recommender):
    """Matrix factorization that puts what was taken above what was not."""

    model = "bpr"


class EASE(Recommender):
    """Each item regressed on all others, in closed form."""

    model = "ease"


class FPMC(Recommender):
    """What a person likes plus what follows their last item, both factorized."""

    model = "fpmc"


class UserKNN(Recommender):
    """What people with the same items took."""

    model = "user-knn"


class VSKNN(Recommender):
    """What went on in sessions that share the newest events (VS-kNN as published)."""

    model = "vsknn"


class VSTAN(Recommender):
    """What went on in sessions like this one, with five decays."""

    model = "vstan"


class GRU4Rec(Recommender):
    """A recurrent state stepped by each event."""

    model = "gru4rec"


class SASRec(Recommender):
    """A causal transformer over the history."""

    model = "sasrec"


class LRURec(Recommender):
    """Layers of linear recurrence: what every event leaves behind fades and turns, at a speed of its own."""

    model = "lrurec"


class HSTU(Recommender):
    """Gated layers of pointwise attention that see how long ago things happened."""

    model = "hstu"


class BERT4Rec(Recommender):
    """A transformer that guesses hidden events from both sides."""

    model = "bert4rec"


class Caser(Recommender):
    """Convolutions over the last few events."""

    model = "caser"


class NextItNet(Recommender):
    """Dilated causal convolutions over the history."""

    model = "nextitnet"


class Seq2SeqRec(Recommender):
    """An encoder and a decoder with attention, which writes the next items one after the other."""

    model = "seq2seq"
