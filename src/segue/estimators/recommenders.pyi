# Made by scripts/make_stubs.py from the settings of each model.
from typing import Literal

from segue.estimators.estimator import Recommender

CLASSES: dict[str, tuple[str, str]]

class Popularity(Recommender):
    """Items by number of events, the same list for every user.

    Settings of the model:
        window_days (float | None, above 0): Length of the counted window before the end of the log, in
            days; 'none': the whole log. Default: None.
        half_life_days (float | None, above 0): Age at which an event weighs half, in days; 'none': all
            events weigh the same. Default: None.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        window_days: float | None = None,
        half_life_days: float | None = None,
        seed: int = 0,
    ) -> None: ...

class Trend(Recommender):
    """Items by their forecast demand in the next period.

    Settings of the model:
        method (Literal['exponential', 'ar', 'var']): 'exponential': exponential smoothing with a
            selected rate; 'ar': an autoregression shared by all items; 'var': a vector autoregression
            on principal components. 'ar' and 'var' need statsmodels. Default: 'exponential'.
        period_s (float | None, above 0): Length of a period in seconds, above 0; 'none': from the span
            of the log, 8 to 60 periods. Default: None.
        shrinkage (float, at least 0): Number of events at which a forecast is halfway between the
            method's and the item's long-run mean. Default: 5.0.
        lags (int, at least 1): Number of previous periods in 'ar' and 'var'. Default: 2.
        components (int, at least 1): Number of principal components in 'var'. Default: 3.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        method: Literal["exponential", "ar", "var"] = "exponential",
        period_s: float | None = None,
        shrinkage: float = 5.0,
        lags: int = 2,
        components: int = 3,
        seed: int = 0,
    ) -> None: ...

class Markov(Recommender):
    """Markov chain: transition probabilities from the newest items of the history.

    Settings of the model:
        smoothing (float, above 0): Number of pseudo-transitions from every item, distributed as the
            older items predict; above 0. Default: 1.0.
        order (int, at least 1): Number of newest items that are used; 1: a first-order chain. Default:
            3.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        smoothing: float = 1.0,
        order: int = 3,
        seed: int = 0,
    ) -> None: ...

class CoVisit(Recommender):
    """Co-visitation: items counted soon after, or before, the newest items of the history.

    Settings of the model:
        window (int, at least 1): Largest distance of a counted pair, in events; a pair counts 1 /
            distance. Default: 10.
        backward (float, at least 0): Weight of a pair in reverse order, relative to its own order; 0:
            no reverse pairs. Default: 0.25.
        damping (float, at least 0): Exponent of the popularity of both items by which a pair is
            divided; 0: no damping. Default: 0.15.
        decay (float, above 0 and at most 1): Factor on the weight of an event per step back in the
            history, above 0 and at most 1; 1: no decay. Default: 0.5.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        window: int = 10,
        backward: float = 0.25,
        damping: float = 0.15,
        decay: float = 0.5,
        seed: int = 0,
    ) -> None: ...

class ItemKNN(Recommender):
    """Item-kNN: cosine similarity of items by their users (Sarwar et al. 2001; Deshpande & Karypis 2004).

    Settings of the model:
        num_neighbors (int, at least 1): Number of most similar items that are kept for each item.
            Default: 200.
        shrinkage (float, at least 0): Term added to the denominator of the cosine; it lowers the
            similarity of items with few common users. Default: 10.0.
        weighting (Literal['none', 'tfidf', 'bm25']): Weighting of the user-item matrix before the
            cosine; 'tfidf' and 'bm25' damp users with many items. Default: 'none'.
        decay (float, above 0 and at most 1): Factor on the vote of an event per step back in the
            history, above 0 and at most 1; 1: no decay. Default: 0.5.
        max_user_items (int | None, at least 1): Number of newest items of a user that are counted, at
            least 1. The pairs grow with the square of it, and those of a robot mean little. none: no
            limit. Default: 5000.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        num_neighbors: int = 200,
        shrinkage: float = 10.0,
        weighting: Literal["none", "tfidf", "bm25"] = "none",
        decay: float = 0.5,
        max_user_items: int | None = 5000,
        seed: int = 0,
    ) -> None: ...

class UserKNN(Recommender):
    """User-kNN: users with common items vote for their other items (Herlocker et al. 1999).

    Settings of the model:
        num_neighbors (int, at least 1): Number of most similar users that vote. Default: 200.
        sample_size (int, at least 1): Number of randomly drawn users with a common item among which
            neighbors are searched. Default: 5000.
        max_length (int, at least 1): Number of newest events of the scored history that are used.
            Default: 200.
        similarity (Literal['cosine', 'jaccard']): Similarity of two users' items. Default: 'cosine'.
        decay (float, above 0 and at most 1): Factor on the weight of an item per step back in the
            history, above 0 and at most 1; 1: plain sets. Default: 0.8.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        num_neighbors: int = 200,
        sample_size: int = 5000,
        max_length: int = 200,
        similarity: Literal["cosine", "jaccard"] = "cosine",
        decay: float = 0.8,
        seed: int = 0,
    ) -> None: ...

class SessionKNN(Recommender):
    """Session-kNN: the most similar recent sessions vote for their items.

    Settings of the model:
        num_neighbors (int, at least 1): Number of most similar sessions that vote. Default: 500.
        sample_size (int, at least 1): Number of most recent sessions with a common item in which
            neighbors are searched. Default: 2000.
        max_length (int, at least 1): Number of newest events of the scored session that are used.
            Default: 20.
        max_stored_events (int, at least 1): Number of newest events that are stored of each session or
            user of the log. Default: 100.
        weighting (Literal['none', 'linear', 'quadratic', 'log', 'harmonic']): Decay of an item's weight
            in the similarity with its age in the session. Default: 'log'.
        spread (float | None, above 0): Distance from the shared item, in items, at which a vote has
            fallen to 1 / e; 'none': no decay with distance. Default: 4.0.
        before_weight (float, at least 0): Weight of items before the shared one, relative to those
            after it. Default: 0.5.
        idf (bool): Weight votes by log(sessions / sessions with the item), so that rare items count
            more. Default: True.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        num_neighbors: int = 500,
        sample_size: int = 2000,
        max_length: int = 20,
        max_stored_events: int = 100,
        weighting: Literal["none", "linear", "quadratic", "log", "harmonic"] = "log",
        spread: float | None = 4.0,
        before_weight: float = 0.5,
        idf: bool = True,
        seed: int = 0,
    ) -> None: ...

class VSKNN(Recommender):
    """VS-kNN: similar sessions vote, newer events weigh more (Ludewig & Jannach 2018, section 3.1).

    Settings of the model:
        num_neighbors (int, at least 1): Number of most similar sessions that vote. Default: 500.
        sample_size (int, at least 1): Number of most recent sessions with a common item in which
            neighbors are searched. Default: 2500.
        max_length (int, at least 1): Number of newest events of the scored session that are used.
            Default: 30.
        max_stored_events (int, at least 1): Number of newest events that are stored of each session or
            user of the log. Default: 100.
        weighting (Literal['none', 'linear', 'quadratic', 'log', 'harmonic']): How an item's weight in
            the similarity falls with its age in the session. Default: 'quadratic'.
        scoring (Literal['none', 'linear', 'quadratic', 'log', 'harmonic']): Decay of a neighbor's vote
            with the age of the newest shared item. Default: 'quadratic'.
        idf (float, at least 0): Factor w in 1 + w * log(sessions / sessions with the item), which
            multiplies votes; 0: no idf weight. Default: 1.0.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        num_neighbors: int = 500,
        sample_size: int = 2500,
        max_length: int = 30,
        max_stored_events: int = 100,
        weighting: Literal["none", "linear", "quadratic", "log", "harmonic"] = "quadratic",
        scoring: Literal["none", "linear", "quadratic", "log", "harmonic"] = "quadratic",
        idf: float = 1.0,
        seed: int = 0,
    ) -> None: ...

class VSTAN(Recommender):
    """VSTAN: similar sessions vote, weighted by five decays (Ludewig et al. 2020).

    Settings of the model:
        num_neighbors (int, at least 1): Number of most similar sessions that vote. Default: 500.
        sample_size (int, at least 1): Number of most recent sessions with a common item in which
            neighbors are searched. Default: 2500.
        max_length (int, at least 1): Number of newest events of the scored session that are used.
            Default: 30.
        max_stored_events (int, at least 1): Number of newest events that are stored of each session or
            user of the log. Default: 100.
        lambda_spw (float | None, above 0): Age in events at which an item of the session weighs 1 / e
            in the similarity. Default: 2.0.
        lambda_snh (float | None, above 0): Age in days at which a neighbor session weighs 1 / e;
            without effect where the log has no times. Default: 30.0.
        lambda_inh (float | None, above 0): Distance from the newest shared item, in items, at which a
            neighbor's vote has fallen to 1 / e. Default: 4.0.
        lambda_ipw (float | None, above 0): Age in events of the newest shared item at which a neighbor
            weighs 1 / e. Default: 1.0.
        lambda_idf (float, at least 0): Factor w in 1 + w * log(sessions / sessions with the item),
            which multiplies votes; 0: no idf weight. Default: 1.0.
        before_weight (float, at least 0): Weight of items before the shared one, relative to those
            after it; 1 in the papers. Default: 0.5.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        num_neighbors: int = 500,
        sample_size: int = 2500,
        max_length: int = 30,
        max_stored_events: int = 100,
        lambda_spw: float | None = 2.0,
        lambda_snh: float | None = 30.0,
        lambda_inh: float | None = 4.0,
        lambda_ipw: float | None = 1.0,
        lambda_idf: float = 1.0,
        before_weight: float = 0.5,
        seed: int = 0,
    ) -> None: ...

class Spectral(Recommender):
    """Spectral item embeddings: the SVD of the PPMI of co-occurrences, without training.

    Settings of the model:
        embedding_dim (int, at least 1): Length of the embeddings. Default: 128.
        window (int, at least 1): Largest distance of a counted pair, in events; a pair counts 1 /
            distance. Default: 10.
        power (float, in [0, 1]): Exponent of the context smoothing, in [0, 1]: 1 no smoothing, 0 all
            contexts alike. Default: 0.75.
        decay (float, above 0 and at most 1): Factor on the weight of an event per step back in the
            history, above 0 and at most 1; 1: no decay. Default: 0.7.
        seed (int, at least 0): Seed of the start of the decomposition; at least 0. Default: 0.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 128,
        window: int = 10,
        power: float = 0.75,
        decay: float = 0.7,
        seed: int = 0,
    ) -> None: ...

class IALS(Recommender):
    """iALS: matrix factorization by alternating least squares (Hu, Koren & Volinsky 2008).

    Settings of the model:
        embedding_dim (int, at least 1): Length of the embeddings. Default: 64.
        confidence (float, above 0): Weight of an event relative to its absence (alpha of the paper's
            eq. 1); above 0. Default: 10.0.
        regularization (float, above 0): L2 penalty on the embeddings (lambda of eq. 3); above 0.
            Default: 10.0.
        iterations (int, at least 1): Number of alternating passes over users and items. Default: 15.
        decay (float, above 0 and at most 1): Factor on the confidence of an event per step back in a
            scored history, above 0 and at most 1; 1: the paper's. Default: 0.9.
        seed (int, at least 0): Seed of the initial embeddings; at least 0. Default: 0.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        confidence: float = 10.0,
        regularization: float = 10.0,
        iterations: int = 15,
        decay: float = 0.9,
        seed: int = 0,
    ) -> None: ...

class BPR(Recommender):
    """BPR: matrix factorization that ranks a user's items above all others (Rendle et al. 2009).

    Settings of the model:
        embedding_dim (int, at least 1): Length of the embeddings. Default: 64.
        learning_rate (float, above 0): Step size of stochastic gradient descent; above 0. Default:
            0.05.
        regularization (float, at least 0): L2 penalty on the embeddings at each step. Default: 0.01.
        iterations (int, at least 1): Number of passes over the log. Default: 100.
        decay (float, above 0 and at most 1): Factor on the weight of an event per step back in a scored
            history, above 0 and at most 1; 1: no decay. Default: 0.9.
        seed (int, at least 0): Seed of the initial embeddings and of the sampled pairs; at least 0.
            Default: 0.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        learning_rate: float = 0.05,
        regularization: float = 0.01,
        iterations: int = 100,
        decay: float = 0.9,
        seed: int = 0,
    ) -> None: ...

class EASE(Recommender):
    """EASE: linear regression of each item on all others, in closed form (Steck 2019).

    Settings of the model:
        regularization (float, above 0): L2 penalty, added to each item's number of users (lambda of the
            paper's eq. 4); above 0. Default: 250.0.
        num_neighbors (int, at least 1): Number of weights that are kept for each item, the largest by
            absolute value. Default: 200.
        decay (float, above 0 and at most 1): Factor on the vote of an event per step back in the
            history, above 0 and at most 1; 1: the paper's. Default: 0.9.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        regularization: float = 250.0,
        num_neighbors: int = 200,
        decay: float = 0.9,
        seed: int = 0,
    ) -> None: ...

class FPMC(Recommender):
    """FPMC: factorized user preferences plus factorized item transitions (Rendle et al. 2010).

    Settings of the model:
        embedding_dim (int, at least 1): Length of the embeddings of each of the two factorizations.
            Default: 64.
        epochs (int, at least 1): Number of passes over the events. Default: 20.
        learning_rate (float, above 0): Step size of Adagrad; above 0. Default: 0.05.
        regularization (float, at least 0): L2 penalty on the embeddings of each event (lambda of the
            paper's eq. 15). Default: 0.01.
        batch_size (int, at least 1): Number of events of one step. Default: 1024.
        seed (int, at least 0): Seed of the initial embeddings, the order of events and the negatives;
            at least 0. Default: 0.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        epochs: int = 20,
        learning_rate: float = 0.05,
        regularization: float = 0.01,
        batch_size: int = 1024,
        seed: int = 0,
    ) -> None: ...

class GRU4Rec(Recommender):
    """GRU4Rec: recurrent network over the events (Hidasi et al. 2016; Hidasi & Karatzoglou 2018).

    Settings of the model:
        embedding_dim (int, at least 1): Width of item embeddings and hidden states. Default: 64.
        max_length (int, at least 1): Number of newest events of a history that the network reads; also
            the longest training window. Default: 50.
        temperature (float | None, above 0): Divisor of the cosine between query and item embedding;
            'none': a dot product and a bias for each item. Default: 0.07.
        spectral_init (bool): Initialize item embeddings by the SVD of the log's windowed co-occurrence
            instead of at random. Default: True.
        covisitation_weight (float | None, at least 0): Weight of the co-visitation model that is added
            to the scores; 'none': chosen on validation (0 without one). Default: None.
        time_inputs (tuple[Literal['gap', 'daypart', 'weekday'], ...]): Any of gap (time since the event
            before), daypart (hour) and weekday, all in UTC. Each adds its embedding to the item
            embedding of the event. Default: ().
        num_layers (int, at least 1): Number of stacked recurrent layers. Default: 1.
        cell (Literal['gru', 'lstm', 'rnn']): Recurrent cell of every layer; rnn has no gates. Default:
            'gru'.
        input_embedding (Literal['shared', 'separate', 'one-hot']): Input of an item: the embedding that
            scores are computed with, an input embedding of its own, or a row of the first layer's input
            matrix ('one-hot'; as wide as all gates together). Default: 'shared'.
        dropout_input (float, in [0, 1)): Dropout probability on the embedded input. Default: 0.0.
        dropout_hidden (float, in [0, 1)): Dropout probability on the hidden states of each layer.
            Default: 0.1.

    Settings of the training:
        batch_tokens (int, at least 1): Number of events in a batch, padding included. Default: 8192.
        parallel_sessions (int, at least 0): Number of sessions in a session-parallel batch of GRU4Rec
            (Hidasi et al. 2016), which takes the next event of each; 0: packed windows of whole
            histories. Default: 0.
        bptt_steps (int, at least 1): Number of events of each parallel session in a batch, which is the
            length of backpropagation through time. Default: 1.
        session_order (Literal['shuffled', 'time']): Order in which parallel sessions are started. time:
            by first timestamp, or the log's order without timestamps. Default: 'shuffled'.
        loss (Literal['auto', 'full', 'sampled', 'bce', 'gbce', 'bpr-max', 'top1-max']): Loss function.
            full: softmax over the catalog; sampled: softmax over sampled negatives; auto: full up to
            30,000 items if memory_gb holds it, else sampled; bce (SASRec), gbce (gSASRec), bpr-max and
            top1-max (GRU4Rec): as published, over sampled negatives. Default: 'auto'.
        num_negatives (int, at least 1): Number of negatives sampled for a batch and shared by its
            targets. The full softmax ignores it. Default: 2048.
        negative_sampling_exponent (float): Exponent of the sampling distribution, q(item) ~ popularity
            ** exponent; 0: uniform. Default: 0.5.
        negative_source (Literal['popularity', 'in-batch', 'mixed']): Source of negatives. popularity:
            sampled from q; in-batch: the targets of the batch; mixed: both. Default: 'popularity'.
        logq_correction (bool): Subtract log q(item) from each sampled logit (the log-q correction,
            Bengio & Senecal 2008). Applies to the sampled softmax; bpr-max, top1-max, bce and gbce
            ignore it. Default: True.
        num_hardest_negatives (int, at least 0): Number of highest-scoring negatives of each target that
            enter the loss; 0: all negatives. Default: 0.
        gbce_t (float, in [0, 1]): Calibration t of gbce (Petrov & Macdonald 2023), from 0 (plain BCE)
            to 1 (probabilities as if every item were a negative). Default: 0.75.
        score_penalty (float, at least 0): Weight of the squared scores of negatives in bpr-max.
            Default: 1.0.
        elu_alpha (float | None, above 0): Alpha of the ELU that bpr-max and top1-max apply to scores;
            'none': scores unchanged. Default: None.
        memory_gb (float | None, above 0): Memory limit of the training, in 10**9 bytes; 'none': the
            memory of the machine, or of its control group. Default: None.
        epochs (int, at least 1): Maximum number of passes over the log. Default: 5.
        optimizer (Literal['adam', 'adagrad']): Optimizer. adagrad: the one GRU4Rec was published with.
            Default: 'adam'.
        learning_rate (float, above 0): Peak learning rate; see schedule. Default: 0.005.
        schedule (Literal['cosine', 'constant']): Learning-rate schedule. cosine: linear warm-up over
            the first twentieth of the steps, then half a cosine down to a twentieth of the peak.
            Default: 'cosine'.
        momentum (float, in [0, 1)): Momentum of adagrad, for the rows of the item table that a step
            updates. Default: 0.0.
        weight_decay (float): Decoupled weight decay of the encoder's matrices. Default: 0.0.
        max_grad_norm (float | None, above 0): Norm to which longer gradients of the encoder are
            clipped; 'none': no clipping. Default: 1.0.
        patience (int, at least 1): Number of epochs without a better validation after which training
            stops; without validation all epochs run. Default: 3.
        precision (Literal['auto', 'float32', 'bfloat16']): Precision of the large matrix products;
            auto: bfloat16 if the processor has instructions for it. Default: 'auto'.

    Settings of the features:
        features (tuple[str, ...]): Columns of the item table; empty: items are known by their events
            alone. Default: ().
        contexts (tuple[str, ...]): Columns of the log, or of a user table, with the context of events
            (region, device). Default: ().
        min_items (int, at least 1): Minimum number of training items (events, for a context) with a
            value or word, at least 1. Rarer ones count as unknown. Default: 2.
        max_values (int, at least 1): Maximum number of values or words of a column with an embedding,
            at least 1: the most frequent ones. Default: 4096.
        ridge (float, above 0): L2 penalty, above 0, of the ridge regression of item embeddings on
            features: of spectral embeddings at the start of training, of trained ones with
            ``feature_use`` "placing". Default: 0.3.
        feature_use (Literal['learned', 'placing']): learned: feature embeddings are part of every item
            embedding. placing: items with events are trained without features, and a regression on
            features gives the embeddings of cold items. Default: 'learned'.
        id_dropout (float, in [0, 1)): Share of items, in [0, 1), that a training step encodes by
            features alone, so that cold items can be scored. Default: 0.05.
        context_dropout (float, in [0, 1)): Share of events, in [0, 1), trained on without context, so
            that histories without context can be scored. Default: 0.1.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_length: int = 50,
        temperature: float | None = 0.07,
        spectral_init: bool = True,
        covisitation_weight: float | None = None,
        time_inputs: tuple[Literal["gap", "daypart", "weekday"], ...] | list[Literal["gap", "daypart", "weekday"]] = (),
        num_layers: int = 1,
        cell: Literal["gru", "lstm", "rnn"] = "gru",
        input_embedding: Literal["shared", "separate", "one-hot"] = "shared",
        dropout_input: float = 0.0,
        dropout_hidden: float = 0.1,
        batch_tokens: int = 8192,
        parallel_sessions: int = 0,
        bptt_steps: int = 1,
        session_order: Literal["shuffled", "time"] = "shuffled",
        loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto",
        num_negatives: int = 2048,
        negative_sampling_exponent: float = 0.5,
        negative_source: Literal["popularity", "in-batch", "mixed"] = "popularity",
        logq_correction: bool = True,
        num_hardest_negatives: int = 0,
        gbce_t: float = 0.75,
        score_penalty: float = 1.0,
        elu_alpha: float | None = None,
        memory_gb: float | None = None,
        epochs: int = 5,
        optimizer: Literal["adam", "adagrad"] = "adam",
        learning_rate: float = 0.005,
        schedule: Literal["cosine", "constant"] = "cosine",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        patience: int = 3,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        features: tuple[str, ...] | list[str] = (),
        contexts: tuple[str, ...] | list[str] = (),
        min_items: int = 2,
        max_values: int = 4096,
        ridge: float = 0.3,
        feature_use: Literal["learned", "placing"] = "learned",
        id_dropout: float = 0.05,
        context_dropout: float = 0.1,
        seed: int = 0,
    ) -> None: ...

class SASRec(Recommender):
    """SASRec: causal transformer over the history (Kang & McAuley 2018).

    Settings of the model:
        embedding_dim (int, at least 1): Width of item embeddings and hidden states. Default: 64.
        max_length (int, at least 1): Number of newest events of a history that the network reads; also
            the longest training window. Default: 50.
        temperature (float | None, above 0): Divisor of the cosine between query and item embedding;
            'none': a dot product and a bias for each item. Default: 0.07.
        spectral_init (bool): Initialize item embeddings by the SVD of the log's windowed co-occurrence
            instead of at random. Default: True.
        covisitation_weight (float | None, at least 0): Weight of the co-visitation model that is added
            to the scores; 'none': chosen on validation (0 without one). Default: None.
        time_inputs (tuple[Literal['gap', 'daypart', 'weekday'], ...]): Any of gap (time since the event
            before), daypart (hour) and weekday, all in UTC. Each adds its embedding to the item
            embedding of the event. Default: ().
        num_layers (int, at least 1): Number of transformer blocks. Default: 2.
        num_heads (int, at least 1): Number of attention heads; must divide embedding_dim. Default: 2.
        position_encoding (Literal['learned', 'reversed', 'rotary', 'none']): Embedding of each
            position, counted from the oldest event (learned) or from the newest one (reversed); rotary:
            relative distances in the attention; none: order by the causal mask alone. Default:
            'learned'.
        block_type (Literal['prenorm', 'ligr']): Type of the transformer blocks; ligr: gated branches
            and a SwiGLU feed-forward layer (the block of eSASRec). Default: 'prenorm'.
        dropout (float, in [0, 1)): Dropout probability on the embedded input and on both branches of
            each block. Default: 0.2.

    Settings of the training:
        batch_tokens (int, at least 1): Number of events in a batch, padding included. Default: 4096.
        parallel_sessions (int, at least 0): Number of sessions in a session-parallel batch of GRU4Rec
            (Hidasi et al. 2016), which takes the next event of each; 0: packed windows of whole
            histories. Default: 0.
        bptt_steps (int, at least 1): Number of events of each parallel session in a batch, which is the
            length of backpropagation through time. Default: 1.
        session_order (Literal['shuffled', 'time']): Order in which parallel sessions are started. time:
            by first timestamp, or the log's order without timestamps. Default: 'shuffled'.
        loss (Literal['auto', 'full', 'sampled', 'bce', 'gbce', 'bpr-max', 'top1-max']): Loss function.
            full: softmax over the catalog; sampled: softmax over sampled negatives; auto: full up to
            30,000 items if memory_gb holds it, else sampled; bce (SASRec), gbce (gSASRec), bpr-max and
            top1-max (GRU4Rec): as published, over sampled negatives. Default: 'auto'.
        num_negatives (int, at least 1): Number of negatives sampled for a batch and shared by its
            targets. The full softmax ignores it. Default: 2048.
        negative_sampling_exponent (float): Exponent of the sampling distribution, q(item) ~ popularity
            ** exponent; 0: uniform. Default: 0.5.
        negative_source (Literal['popularity', 'in-batch', 'mixed']): Source of negatives. popularity:
            sampled from q; in-batch: the targets of the batch; mixed: both. Default: 'popularity'.
        logq_correction (bool): Subtract log q(item) from each sampled logit (the log-q correction,
            Bengio & Senecal 2008). Applies to the sampled softmax; bpr-max, top1-max, bce and gbce
            ignore it. Default: True.
        num_hardest_negatives (int, at least 0): Number of highest-scoring negatives of each target that
            enter the loss; 0: all negatives. Default: 0.
        gbce_t (float, in [0, 1]): Calibration t of gbce (Petrov & Macdonald 2023), from 0 (plain BCE)
            to 1 (probabilities as if every item were a negative). Default: 0.75.
        score_penalty (float, at least 0): Weight of the squared scores of negatives in bpr-max.
            Default: 1.0.
        elu_alpha (float | None, above 0): Alpha of the ELU that bpr-max and top1-max apply to scores;
            'none': scores unchanged. Default: None.
        memory_gb (float | None, above 0): Memory limit of the training, in 10**9 bytes; 'none': the
            memory of the machine, or of its control group. Default: None.
        epochs (int, at least 1): Maximum number of passes over the log. Default: 10.
        optimizer (Literal['adam', 'adagrad']): Optimizer. adagrad: the one GRU4Rec was published with.
            Default: 'adam'.
        learning_rate (float, above 0): Peak learning rate; see schedule. Default: 0.003.
        schedule (Literal['cosine', 'constant']): Learning-rate schedule. cosine: linear warm-up over
            the first twentieth of the steps, then half a cosine down to a twentieth of the peak.
            Default: 'cosine'.
        momentum (float, in [0, 1)): Momentum of adagrad, for the rows of the item table that a step
            updates. Default: 0.0.
        weight_decay (float): Decoupled weight decay of the encoder's matrices. Default: 0.0.
        max_grad_norm (float | None, above 0): Norm to which longer gradients of the encoder are
            clipped; 'none': no clipping. Default: 1.0.
        patience (int, at least 1): Number of epochs without a better validation after which training
            stops; without validation all epochs run. Default: 3.
        precision (Literal['auto', 'float32', 'bfloat16']): Precision of the large matrix products;
            auto: bfloat16 if the processor has instructions for it. Default: 'auto'.

    Settings of the features:
        features (tuple[str, ...]): Columns of the item table; empty: items are known by their events
            alone. Default: ().
        contexts (tuple[str, ...]): Columns of the log, or of a user table, with the context of events
            (region, device). Default: ().
        min_items (int, at least 1): Minimum number of training items (events, for a context) with a
            value or word, at least 1. Rarer ones count as unknown. Default: 2.
        max_values (int, at least 1): Maximum number of values or words of a column with an embedding,
            at least 1: the most frequent ones. Default: 4096.
        ridge (float, above 0): L2 penalty, above 0, of the ridge regression of item embeddings on
            features: of spectral embeddings at the start of training, of trained ones with
            ``feature_use`` "placing". Default: 0.3.
        feature_use (Literal['learned', 'placing']): learned: feature embeddings are part of every item
            embedding. placing: items with events are trained without features, and a regression on
            features gives the embeddings of cold items. Default: 'learned'.
        id_dropout (float, in [0, 1)): Share of items, in [0, 1), that a training step encodes by
            features alone, so that cold items can be scored. Default: 0.05.
        context_dropout (float, in [0, 1)): Share of events, in [0, 1), trained on without context, so
            that histories without context can be scored. Default: 0.1.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_length: int = 50,
        temperature: float | None = 0.07,
        spectral_init: bool = True,
        covisitation_weight: float | None = None,
        time_inputs: tuple[Literal["gap", "daypart", "weekday"], ...] | list[Literal["gap", "daypart", "weekday"]] = (),
        num_layers: int = 2,
        num_heads: int = 2,
        position_encoding: Literal["learned", "reversed", "rotary", "none"] = "learned",
        block_type: Literal["prenorm", "ligr"] = "prenorm",
        dropout: float = 0.2,
        batch_tokens: int = 4096,
        parallel_sessions: int = 0,
        bptt_steps: int = 1,
        session_order: Literal["shuffled", "time"] = "shuffled",
        loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto",
        num_negatives: int = 2048,
        negative_sampling_exponent: float = 0.5,
        negative_source: Literal["popularity", "in-batch", "mixed"] = "popularity",
        logq_correction: bool = True,
        num_hardest_negatives: int = 0,
        gbce_t: float = 0.75,
        score_penalty: float = 1.0,
        elu_alpha: float | None = None,
        memory_gb: float | None = None,
        epochs: int = 10,
        optimizer: Literal["adam", "adagrad"] = "adam",
        learning_rate: float = 0.003,
        schedule: Literal["cosine", "constant"] = "cosine",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        patience: int = 3,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        features: tuple[str, ...] | list[str] = (),
        contexts: tuple[str, ...] | list[str] = (),
        min_items: int = 2,
        max_values: int = 4096,
        ridge: float = 0.3,
        feature_use: Literal["learned", "placing"] = "learned",
        id_dropout: float = 0.05,
        context_dropout: float = 0.1,
        seed: int = 0,
    ) -> None: ...

class LRURec(Recommender):
    """LRURec: layers of linear recurrence (Yue et al. 2024, after Orvieto et al. 2023).

    Settings of the model:
        embedding_dim (int, at least 1): Width of item embeddings and hidden states. Default: 64.
        max_length (int, at least 1): Number of newest events of a history that the network reads; also
            the longest training window. Default: 50.
        temperature (float | None, above 0): Divisor of the cosine between query and item embedding;
            'none': a dot product and a bias for each item. Default: 0.07.
        spectral_init (bool): Initialize item embeddings by the SVD of the log's windowed co-occurrence
            instead of at random. Default: True.
        covisitation_weight (float | None, at least 0): Weight of the co-visitation model that is added
            to the scores; 'none': chosen on validation (0 without one). Default: None.
        time_inputs (tuple[Literal['gap', 'daypart', 'weekday'], ...]): Any of gap (time since the event
            before), daypart (hour) and weekday, all in UTC. Each adds its embedding to the item
            embedding of the event. Default: ().
        num_layers (int, at least 1): Number of blocks, each a linear recurrence and a feed-forward
            layer. Default: 2.
        expansion (int, at least 1): Number of complex state dimensions of a recurrence for each
            dimension of the embedding. Default: 1.
        dropout (float, in [0, 1)): Dropout probability on the embedded input and on both branches of
            each block. Default: 0.2.

    Settings of the training:
        batch_tokens (int, at least 1): Number of events in a batch, padding included. Default: 4096.
        parallel_sessions (int, at least 0): Number of sessions in a session-parallel batch of GRU4Rec
            (Hidasi et al. 2016), which takes the next event of each; 0: packed windows of whole
            histories. Default: 0.
        bptt_steps (int, at least 1): Number of events of each parallel session in a batch, which is the
            length of backpropagation through time. Default: 1.
        session_order (Literal['shuffled', 'time']): Order in which parallel sessions are started. time:
            by first timestamp, or the log's order without timestamps. Default: 'shuffled'.
        loss (Literal['auto', 'full', 'sampled', 'bce', 'gbce', 'bpr-max', 'top1-max']): Loss function.
            full: softmax over the catalog; sampled: softmax over sampled negatives; auto: full up to
            30,000 items if memory_gb holds it, else sampled; bce (SASRec), gbce (gSASRec), bpr-max and
            top1-max (GRU4Rec): as published, over sampled negatives. Default: 'auto'.
        num_negatives (int, at least 1): Number of negatives sampled for a batch and shared by its
            targets. The full softmax ignores it. Default: 2048.
        negative_sampling_exponent (float): Exponent of the sampling distribution, q(item) ~ popularity
            ** exponent; 0: uniform. Default: 0.5.
        negative_source (Literal['popularity', 'in-batch', 'mixed']): Source of negatives. popularity:
            sampled from q; in-batch: the targets of the batch; mixed: both. Default: 'popularity'.
        logq_correction (bool): Subtract log q(item) from each sampled logit (the log-q correction,
            Bengio & Senecal 2008). Applies to the sampled softmax; bpr-max, top1-max, bce and gbce
            ignore it. Default: True.
        num_hardest_negatives (int, at least 0): Number of highest-scoring negatives of each target that
            enter the loss; 0: all negatives. Default: 0.
        gbce_t (float, in [0, 1]): Calibration t of gbce (Petrov & Macdonald 2023), from 0 (plain BCE)
            to 1 (probabilities as if every item were a negative). Default: 0.75.
        score_penalty (float, at least 0): Weight of the squared scores of negatives in bpr-max.
            Default: 1.0.
        elu_alpha (float | None, above 0): Alpha of the ELU that bpr-max and top1-max apply to scores;
            'none': scores unchanged. Default: None.
        memory_gb (float | None, above 0): Memory limit of the training, in 10**9 bytes; 'none': the
            memory of the machine, or of its control group. Default: None.
        epochs (int, at least 1): Maximum number of passes over the log. Default: 10.
        optimizer (Literal['adam', 'adagrad']): Optimizer. adagrad: the one GRU4Rec was published with.
            Default: 'adam'.
        learning_rate (float, above 0): Peak learning rate; see schedule. Default: 0.003.
        schedule (Literal['cosine', 'constant']): Learning-rate schedule. cosine: linear warm-up over
            the first twentieth of the steps, then half a cosine down to a twentieth of the peak.
            Default: 'cosine'.
        momentum (float, in [0, 1)): Momentum of adagrad, for the rows of the item table that a step
            updates. Default: 0.0.
        weight_decay (float): Decoupled weight decay of the encoder's matrices. Default: 0.0.
        max_grad_norm (float | None, above 0): Norm to which longer gradients of the encoder are
            clipped; 'none': no clipping. Default: 1.0.
        patience (int, at least 1): Number of epochs without a better validation after which training
            stops; without validation all epochs run. Default: 3.
        precision (Literal['auto', 'float32', 'bfloat16']): Precision of the large matrix products;
            auto: bfloat16 if the processor has instructions for it. Default: 'auto'.

    Settings of the features:
        features (tuple[str, ...]): Columns of the item table; empty: items are known by their events
            alone. Default: ().
        contexts (tuple[str, ...]): Columns of the log, or of a user table, with the context of events
            (region, device). Default: ().
        min_items (int, at least 1): Minimum number of training items (events, for a context) with a
            value or word, at least 1. Rarer ones count as unknown. Default: 2.
        max_values (int, at least 1): Maximum number of values or words of a column with an embedding,
            at least 1: the most frequent ones. Default: 4096.
        ridge (float, above 0): L2 penalty, above 0, of the ridge regression of item embeddings on
            features: of spectral embeddings at the start of training, of trained ones with
            ``feature_use`` "placing". Default: 0.3.
        feature_use (Literal['learned', 'placing']): learned: feature embeddings are part of every item
            embedding. placing: items with events are trained without features, and a regression on
            features gives the embeddings of cold items. Default: 'learned'.
        id_dropout (float, in [0, 1)): Share of items, in [0, 1), that a training step encodes by
            features alone, so that cold items can be scored. Default: 0.05.
        context_dropout (float, in [0, 1)): Share of events, in [0, 1), trained on without context, so
            that histories without context can be scored. Default: 0.1.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_length: int = 50,
        temperature: float | None = 0.07,
        spectral_init: bool = True,
        covisitation_weight: float | None = None,
        time_inputs: tuple[Literal["gap", "daypart", "weekday"], ...] | list[Literal["gap", "daypart", "weekday"]] = (),
        num_layers: int = 2,
        expansion: int = 1,
        dropout: float = 0.2,
        batch_tokens: int = 4096,
        parallel_sessions: int = 0,
        bptt_steps: int = 1,
        session_order: Literal["shuffled", "time"] = "shuffled",
        loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto",
        num_negatives: int = 2048,
        negative_sampling_exponent: float = 0.5,
        negative_source: Literal["popularity", "in-batch", "mixed"] = "popularity",
        logq_correction: bool = True,
        num_hardest_negatives: int = 0,
        gbce_t: float = 0.75,
        score_penalty: float = 1.0,
        elu_alpha: float | None = None,
        memory_gb: float | None = None,
        epochs: int = 10,
        optimizer: Literal["adam", "adagrad"] = "adam",
        learning_rate: float = 0.003,
        schedule: Literal["cosine", "constant"] = "cosine",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        patience: int = 3,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        features: tuple[str, ...] | list[str] = (),
        contexts: tuple[str, ...] | list[str] = (),
        min_items: int = 2,
        max_values: int = 4096,
        ridge: float = 0.3,
        feature_use: Literal["learned", "placing"] = "learned",
        id_dropout: float = 0.05,
        context_dropout: float = 0.1,
        seed: int = 0,
    ) -> None: ...

class HSTU(Recommender):
    """HSTU: gated layers of pointwise attention over distances and times (Zhai et al. 2024).

    Settings of the model:
        embedding_dim (int, at least 1): Width of item embeddings and hidden states. Default: 64.
        max_length (int, at least 1): Number of newest events of a history that the network reads; also
            the longest training window. Default: 50.
        temperature (float | None, above 0): Divisor of the cosine between query and item embedding;
            'none': a dot product and a bias for each item. Default: 0.07.
        spectral_init (bool): Initialize item embeddings by the SVD of the log's windowed co-occurrence
            instead of at random. Default: True.
        covisitation_weight (float | None, at least 0): Weight of the co-visitation model that is added
            to the scores; 'none': chosen on validation (0 without one). Default: None.
        time_inputs (tuple[Literal['gap', 'daypart', 'weekday'], ...]): Any of gap (time since the event
            before), daypart (hour) and weekday, all in UTC. Each adds its embedding to the item
            embedding of the event. Default: ().
        num_layers (int, at least 1): Number of HSTU layers. Default: 2.
        num_heads (int, at least 1): Number of attention heads; must divide embedding_dim. Default: 2.
        target_time (bool): Use the time of the event to predict: the time of a request, and in an
            evaluation the target's own timestamp. Metrics of such a model are therefore reported apart.
            Default: False.
        dropout (float, in [0, 1)): Dropout probability on the embedded input and on the output of each
            layer. Default: 0.2.

    Settings of the training:
        batch_tokens (int, at least 1): Number of events in a batch, padding included. Default: 4096.
        parallel_sessions (int, at least 0): Number of sessions in a session-parallel batch of GRU4Rec
            (Hidasi et al. 2016), which takes the next event of each; 0: packed windows of whole
            histories. Default: 0.
        bptt_steps (int, at least 1): Number of events of each parallel session in a batch, which is the
            length of backpropagation through time. Default: 1.
        session_order (Literal['shuffled', 'time']): Order in which parallel sessions are started. time:
            by first timestamp, or the log's order without timestamps. Default: 'shuffled'.
        loss (Literal['auto', 'full', 'sampled', 'bce', 'gbce', 'bpr-max', 'top1-max']): Loss function.
            full: softmax over the catalog; sampled: softmax over sampled negatives; auto: full up to
            30,000 items if memory_gb holds it, else sampled; bce (SASRec), gbce (gSASRec), bpr-max and
            top1-max (GRU4Rec): as published, over sampled negatives. Default: 'auto'.
        num_negatives (int, at least 1): Number of negatives sampled for a batch and shared by its
            targets. The full softmax ignores it. Default: 2048.
        negative_sampling_exponent (float): Exponent of the sampling distribution, q(item) ~ popularity
            ** exponent; 0: uniform. Default: 0.5.
        negative_source (Literal['popularity', 'in-batch', 'mixed']): Source of negatives. popularity:
            sampled from q; in-batch: the targets of the batch; mixed: both. Default: 'popularity'.
        logq_correction (bool): Subtract log q(item) from each sampled logit (the log-q correction,
            Bengio & Senecal 2008). Applies to the sampled softmax; bpr-max, top1-max, bce and gbce
            ignore it. Default: True.
        num_hardest_negatives (int, at least 0): Number of highest-scoring negatives of each target that
            enter the loss; 0: all negatives. Default: 0.
        gbce_t (float, in [0, 1]): Calibration t of gbce (Petrov & Macdonald 2023), from 0 (plain BCE)
            to 1 (probabilities as if every item were a negative). Default: 0.75.
        score_penalty (float, at least 0): Weight of the squared scores of negatives in bpr-max.
            Default: 1.0.
        elu_alpha (float | None, above 0): Alpha of the ELU that bpr-max and top1-max apply to scores;
            'none': scores unchanged. Default: None.
        memory_gb (float | None, above 0): Memory limit of the training, in 10**9 bytes; 'none': the
            memory of the machine, or of its control group. Default: None.
        epochs (int, at least 1): Maximum number of passes over the log. Default: 10.
        optimizer (Literal['adam', 'adagrad']): Optimizer. adagrad: the one GRU4Rec was published with.
            Default: 'adam'.
        learning_rate (float, above 0): Peak learning rate; see schedule. Default: 0.003.
        schedule (Literal['cosine', 'constant']): Learning-rate schedule. cosine: linear warm-up over
            the first twentieth of the steps, then half a cosine down to a twentieth of the peak.
            Default: 'cosine'.
        momentum (float, in [0, 1)): Momentum of adagrad, for the rows of the item table that a step
            updates. Default: 0.0.
        weight_decay (float): Decoupled weight decay of the encoder's matrices. Default: 0.0.
        max_grad_norm (float | None, above 0): Norm to which longer gradients of the encoder are
            clipped; 'none': no clipping. Default: 1.0.
        patience (int, at least 1): Number of epochs without a better validation after which training
            stops; without validation all epochs run. Default: 3.
        precision (Literal['auto', 'float32', 'bfloat16']): Precision of the large matrix products;
            auto: bfloat16 if the processor has instructions for it. Default: 'auto'.

    Settings of the features:
        features (tuple[str, ...]): Columns of the item table; empty: items are known by their events
            alone. Default: ().
        contexts (tuple[str, ...]): Columns of the log, or of a user table, with the context of events
            (region, device). Default: ().
        min_items (int, at least 1): Minimum number of training items (events, for a context) with a
            value or word, at least 1. Rarer ones count as unknown. Default: 2.
        max_values (int, at least 1): Maximum number of values or words of a column with an embedding,
            at least 1: the most frequent ones. Default: 4096.
        ridge (float, above 0): L2 penalty, above 0, of the ridge regression of item embeddings on
            features: of spectral embeddings at the start of training, of trained ones with
            ``feature_use`` "placing". Default: 0.3.
        feature_use (Literal['learned', 'placing']): learned: feature embeddings are part of every item
            embedding. placing: items with events are trained without features, and a regression on
            features gives the embeddings of cold items. Default: 'learned'.
        id_dropout (float, in [0, 1)): Share of items, in [0, 1), that a training step encodes by
            features alone, so that cold items can be scored. Default: 0.05.
        context_dropout (float, in [0, 1)): Share of events, in [0, 1), trained on without context, so
            that histories without context can be scored. Default: 0.1.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_length: int = 50,
        temperature: float | None = 0.07,
        spectral_init: bool = True,
        covisitation_weight: float | None = None,
        time_inputs: tuple[Literal["gap", "daypart", "weekday"], ...] | list[Literal["gap", "daypart", "weekday"]] = (),
        num_layers: int = 2,
        num_heads: int = 2,
        target_time: bool = False,
        dropout: float = 0.2,
        batch_tokens: int = 4096,
        parallel_sessions: int = 0,
        bptt_steps: int = 1,
        session_order: Literal["shuffled", "time"] = "shuffled",
        loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto",
        num_negatives: int = 2048,
        negative_sampling_exponent: float = 0.5,
        negative_source: Literal["popularity", "in-batch", "mixed"] = "popularity",
        logq_correction: bool = True,
        num_hardest_negatives: int = 0,
        gbce_t: float = 0.75,
        score_penalty: float = 1.0,
        elu_alpha: float | None = None,
        memory_gb: float | None = None,
        epochs: int = 10,
        optimizer: Literal["adam", "adagrad"] = "adam",
        learning_rate: float = 0.003,
        schedule: Literal["cosine", "constant"] = "cosine",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        patience: int = 3,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        features: tuple[str, ...] | list[str] = (),
        contexts: tuple[str, ...] | list[str] = (),
        min_items: int = 2,
        max_values: int = 4096,
        ridge: float = 0.3,
        feature_use: Literal["learned", "placing"] = "learned",
        id_dropout: float = 0.05,
        context_dropout: float = 0.1,
        seed: int = 0,
    ) -> None: ...

class BERT4Rec(Recommender):
    """BERT4Rec: bidirectional transformer that predicts masked events (Sun et al. 2019).

    Settings of the model:
        embedding_dim (int, at least 1): Width of item embeddings and hidden states. Default: 64.
        max_length (int, at least 1): Number of newest events of a history that the network reads; also
            the longest training window. Default: 50.
        temperature (float | None, above 0): Divisor of the cosine between query and item embedding;
            'none': a dot product and a bias for each item. Default: 0.07.
        spectral_init (bool): Initialize item embeddings by the SVD of the log's windowed co-occurrence
            instead of at random. Default: True.
        covisitation_weight (float | None, at least 0): Weight of the co-visitation model that is added
            to the scores; 'none': chosen on validation (0 without one). Default: None.
        num_layers (int, at least 1): Number of transformer blocks. Default: 2.
        num_heads (int, at least 1): Number of attention heads; each gets embedding_dim / num_heads
            dimensions, which must be even. Default: 2.
        mask_probability (float, above 0 and below 1): Probability that an event of a training window is
            masked and predicted; at least one event always is. Default: 0.2.
        last_mask_probability (float, in [0, 1]): Share of the training windows in which only the newest
            event is masked, as when a history is scored. Default: 0.5.
        dropout (float, in [0, 1)): Dropout probability on the embedded input and on both branches of
            each block. Default: 0.2.

    Settings of the training:
        batch_tokens (int, at least 1): Number of events in a batch, padding included. Default: 4096.
        parallel_sessions (int, at least 0): Number of sessions in a session-parallel batch of GRU4Rec
            (Hidasi et al. 2016), which takes the next event of each; 0: packed windows of whole
            histories. Default: 0.
        bptt_steps (int, at least 1): Number of events of each parallel session in a batch, which is the
            length of backpropagation through time. Default: 1.
        session_order (Literal['shuffled', 'time']): Order in which parallel sessions are started. time:
            by first timestamp, or the log's order without timestamps. Default: 'shuffled'.
        loss (Literal['auto', 'full', 'sampled', 'bce', 'gbce', 'bpr-max', 'top1-max']): Loss function.
            full: softmax over the catalog; sampled: softmax over sampled negatives; auto: full up to
            30,000 items if memory_gb holds it, else sampled; bce (SASRec), gbce (gSASRec), bpr-max and
            top1-max (GRU4Rec): as published, over sampled negatives. Default: 'auto'.
        num_negatives (int, at least 1): Number of negatives sampled for a batch and shared by its
            targets. The full softmax ignores it. Default: 2048.
        negative_sampling_exponent (float): Exponent of the sampling distribution, q(item) ~ popularity
            ** exponent; 0: uniform. Default: 0.5.
        negative_source (Literal['popularity', 'in-batch', 'mixed']): Source of negatives. popularity:
            sampled from q; in-batch: the targets of the batch; mixed: both. Default: 'popularity'.
        logq_correction (bool): Subtract log q(item) from each sampled logit (the log-q correction,
            Bengio & Senecal 2008). Applies to the sampled softmax; bpr-max, top1-max, bce and gbce
            ignore it. Default: True.
        num_hardest_negatives (int, at least 0): Number of highest-scoring negatives of each target that
            enter the loss; 0: all negatives. Default: 0.
        gbce_t (float, in [0, 1]): Calibration t of gbce (Petrov & Macdonald 2023), from 0 (plain BCE)
            to 1 (probabilities as if every item were a negative). Default: 0.75.
        score_penalty (float, at least 0): Weight of the squared scores of negatives in bpr-max.
            Default: 1.0.
        elu_alpha (float | None, above 0): Alpha of the ELU that bpr-max and top1-max apply to scores;
            'none': scores unchanged. Default: None.
        memory_gb (float | None, above 0): Memory limit of the training, in 10**9 bytes; 'none': the
            memory of the machine, or of its control group. Default: None.
        epochs (int, at least 1): Maximum number of passes over the log. Default: 10.
        optimizer (Literal['adam', 'adagrad']): Optimizer. adagrad: the one GRU4Rec was published with.
            Default: 'adam'.
        learning_rate (float, above 0): Peak learning rate; see schedule. Default: 0.003.
        schedule (Literal['cosine', 'constant']): Learning-rate schedule. cosine: linear warm-up over
            the first twentieth of the steps, then half a cosine down to a twentieth of the peak.
            Default: 'cosine'.
        momentum (float, in [0, 1)): Momentum of adagrad, for the rows of the item table that a step
            updates. Default: 0.0.
        weight_decay (float): Decoupled weight decay of the encoder's matrices. Default: 0.0.
        max_grad_norm (float | None, above 0): Norm to which longer gradients of the encoder are
            clipped; 'none': no clipping. Default: 1.0.
        patience (int, at least 1): Number of epochs without a better validation after which training
            stops; without validation all epochs run. Default: 3.
        precision (Literal['auto', 'float32', 'bfloat16']): Precision of the large matrix products;
            auto: bfloat16 if the processor has instructions for it. Default: 'auto'.

    Settings of the features:
        features (tuple[str, ...]): Columns of the item table; empty: items are known by their events
            alone. Default: ().
        contexts (tuple[str, ...]): Columns of the log, or of a user table, with the context of events
            (region, device). Default: ().
        min_items (int, at least 1): Minimum number of training items (events, for a context) with a
            value or word, at least 1. Rarer ones count as unknown. Default: 2.
        max_values (int, at least 1): Maximum number of values or words of a column with an embedding,
            at least 1: the most frequent ones. Default: 4096.
        ridge (float, above 0): L2 penalty, above 0, of the ridge regression of item embeddings on
            features: of spectral embeddings at the start of training, of trained ones with
            ``feature_use`` "placing". Default: 0.3.
        feature_use (Literal['learned', 'placing']): learned: feature embeddings are part of every item
            embedding. placing: items with events are trained without features, and a regression on
            features gives the embeddings of cold items. Default: 'learned'.
        id_dropout (float, in [0, 1)): Share of items, in [0, 1), that a training step encodes by
            features alone, so that cold items can be scored. Default: 0.05.
        context_dropout (float, in [0, 1)): Share of events, in [0, 1), trained on without context, so
            that histories without context can be scored. Default: 0.1.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_length: int = 50,
        temperature: float | None = 0.07,
        spectral_init: bool = True,
        covisitation_weight: float | None = None,
        num_layers: int = 2,
        num_heads: int = 2,
        mask_probability: float = 0.2,
        last_mask_probability: float = 0.5,
        dropout: float = 0.2,
        batch_tokens: int = 4096,
        parallel_sessions: int = 0,
        bptt_steps: int = 1,
        session_order: Literal["shuffled", "time"] = "shuffled",
        loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto",
        num_negatives: int = 2048,
        negative_sampling_exponent: float = 0.5,
        negative_source: Literal["popularity", "in-batch", "mixed"] = "popularity",
        logq_correction: bool = True,
        num_hardest_negatives: int = 0,
        gbce_t: float = 0.75,
        score_penalty: float = 1.0,
        elu_alpha: float | None = None,
        memory_gb: float | None = None,
        epochs: int = 10,
        optimizer: Literal["adam", "adagrad"] = "adam",
        learning_rate: float = 0.003,
        schedule: Literal["cosine", "constant"] = "cosine",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        patience: int = 3,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        features: tuple[str, ...] | list[str] = (),
        contexts: tuple[str, ...] | list[str] = (),
        min_items: int = 2,
        max_values: int = 4096,
        ridge: float = 0.3,
        feature_use: Literal["learned", "placing"] = "learned",
        id_dropout: float = 0.05,
        context_dropout: float = 0.1,
        seed: int = 0,
    ) -> None: ...

class Caser(Recommender):
    """Caser: convolutions over the newest events (Tang & Wang 2018), without user embeddings.

    Settings of the model:
        embedding_dim (int, at least 1): Width of item embeddings and hidden states. Default: 64.
        max_length (int, at least 1): Number of newest events of a history that the network reads; also
            the longest training window. Default: 50.
        temperature (float | None, above 0): Divisor of the cosine between query and item embedding;
            'none': a dot product and a bias for each item. Default: 0.07.
        spectral_init (bool): Initialize item embeddings by the SVD of the log's windowed co-occurrence
            instead of at random. Default: True.
        covisitation_weight (float | None, at least 0): Weight of the co-visitation model that is added
            to the scores; 'none': chosen on validation (0 without one). Default: None.
        time_inputs (tuple[Literal['gap', 'daypart', 'weekday'], ...]): Any of gap (time since the event
            before), daypart (hour) and weekday, all in UTC. Each adds its embedding to the item
            embedding of the event. Default: ().
        window (int, at least 1): L: number of newest events under the filters. A hidden state depends
            on these alone; ``max_length`` bounds only the training window. Default: 5.
        num_horizontal_filters (int, at least 1): Number of filters of each height from 1 to ``window``
            events. Default: 16.
        num_vertical_filters (int, at least 1): Number of filters that are weighted sums of the window's
            events. Default: 4.
        dropout (float, in [0, 1)): Dropout probability on the output of the filters. Default: 0.2.

    Settings of the training:
        batch_tokens (int, at least 1): Number of events in a batch, padding included. Default: 4096.
        parallel_sessions (int, at least 0): Number of sessions in a session-parallel batch of GRU4Rec
            (Hidasi et al. 2016), which takes the next event of each; 0: packed windows of whole
            histories. Default: 0.
        bptt_steps (int, at least 1): Number of events of each parallel session in a batch, which is the
            length of backpropagation through time. Default: 1.
        session_order (Literal['shuffled', 'time']): Order in which parallel sessions are started. time:
            by first timestamp, or the log's order without timestamps. Default: 'shuffled'.
        loss (Literal['auto', 'full', 'sampled', 'bce', 'gbce', 'bpr-max', 'top1-max']): Loss function.
            full: softmax over the catalog; sampled: softmax over sampled negatives; auto: full up to
            30,000 items if memory_gb holds it, else sampled; bce (SASRec), gbce (gSASRec), bpr-max and
            top1-max (GRU4Rec): as published, over sampled negatives. Default: 'auto'.
        num_negatives (int, at least 1): Number of negatives sampled for a batch and shared by its
            targets. The full softmax ignores it. Default: 2048.
        negative_sampling_exponent (float): Exponent of the sampling distribution, q(item) ~ popularity
            ** exponent; 0: uniform. Default: 0.5.
        negative_source (Literal['popularity', 'in-batch', 'mixed']): Source of negatives. popularity:
            sampled from q; in-batch: the targets of the batch; mixed: both. Default: 'popularity'.
        logq_correction (bool): Subtract log q(item) from each sampled logit (the log-q correction,
            Bengio & Senecal 2008). Applies to the sampled softmax; bpr-max, top1-max, bce and gbce
            ignore it. Default: True.
        num_hardest_negatives (int, at least 0): Number of highest-scoring negatives of each target that
            enter the loss; 0: all negatives. Default: 0.
        gbce_t (float, in [0, 1]): Calibration t of gbce (Petrov & Macdonald 2023), from 0 (plain BCE)
            to 1 (probabilities as if every item were a negative). Default: 0.75.
        score_penalty (float, at least 0): Weight of the squared scores of negatives in bpr-max.
            Default: 1.0.
        elu_alpha (float | None, above 0): Alpha of the ELU that bpr-max and top1-max apply to scores;
            'none': scores unchanged. Default: None.
        memory_gb (float | None, above 0): Memory limit of the training, in 10**9 bytes; 'none': the
            memory of the machine, or of its control group. Default: None.
        epochs (int, at least 1): Maximum number of passes over the log. Default: 10.
        optimizer (Literal['adam', 'adagrad']): Optimizer. adagrad: the one GRU4Rec was published with.
            Default: 'adam'.
        learning_rate (float, above 0): Peak learning rate; see schedule. Default: 0.003.
        schedule (Literal['cosine', 'constant']): Learning-rate schedule. cosine: linear warm-up over
            the first twentieth of the steps, then half a cosine down to a twentieth of the peak.
            Default: 'cosine'.
        momentum (float, in [0, 1)): Momentum of adagrad, for the rows of the item table that a step
            updates. Default: 0.0.
        weight_decay (float): Decoupled weight decay of the encoder's matrices. Default: 0.0.
        max_grad_norm (float | None, above 0): Norm to which longer gradients of the encoder are
            clipped; 'none': no clipping. Default: 1.0.
        patience (int, at least 1): Number of epochs without a better validation after which training
            stops; without validation all epochs run. Default: 3.
        precision (Literal['auto', 'float32', 'bfloat16']): Precision of the large matrix products;
            auto: bfloat16 if the processor has instructions for it. Default: 'auto'.

    Settings of the features:
        features (tuple[str, ...]): Columns of the item table; empty: items are known by their events
            alone. Default: ().
        contexts (tuple[str, ...]): Columns of the log, or of a user table, with the context of events
            (region, device). Default: ().
        min_items (int, at least 1): Minimum number of training items (events, for a context) with a
            value or word, at least 1. Rarer ones count as unknown. Default: 2.
        max_values (int, at least 1): Maximum number of values or words of a column with an embedding,
            at least 1: the most frequent ones. Default: 4096.
        ridge (float, above 0): L2 penalty, above 0, of the ridge regression of item embeddings on
            features: of spectral embeddings at the start of training, of trained ones with
            ``feature_use`` "placing". Default: 0.3.
        feature_use (Literal['learned', 'placing']): learned: feature embeddings are part of every item
            embedding. placing: items with events are trained without features, and a regression on
            features gives the embeddings of cold items. Default: 'learned'.
        id_dropout (float, in [0, 1)): Share of items, in [0, 1), that a training step encodes by
            features alone, so that cold items can be scored. Default: 0.05.
        context_dropout (float, in [0, 1)): Share of events, in [0, 1), trained on without context, so
            that histories without context can be scored. Default: 0.1.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_length: int = 50,
        temperature: float | None = 0.07,
        spectral_init: bool = True,
        covisitation_weight: float | None = None,
        time_inputs: tuple[Literal["gap", "daypart", "weekday"], ...] | list[Literal["gap", "daypart", "weekday"]] = (),
        window: int = 5,
        num_horizontal_filters: int = 16,
        num_vertical_filters: int = 4,
        dropout: float = 0.2,
        batch_tokens: int = 4096,
        parallel_sessions: int = 0,
        bptt_steps: int = 1,
        session_order: Literal["shuffled", "time"] = "shuffled",
        loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto",
        num_negatives: int = 2048,
        negative_sampling_exponent: float = 0.5,
        negative_source: Literal["popularity", "in-batch", "mixed"] = "popularity",
        logq_correction: bool = True,
        num_hardest_negatives: int = 0,
        gbce_t: float = 0.75,
        score_penalty: float = 1.0,
        elu_alpha: float | None = None,
        memory_gb: float | None = None,
        epochs: int = 10,
        optimizer: Literal["adam", "adagrad"] = "adam",
        learning_rate: float = 0.003,
        schedule: Literal["cosine", "constant"] = "cosine",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        patience: int = 3,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        features: tuple[str, ...] | list[str] = (),
        contexts: tuple[str, ...] | list[str] = (),
        min_items: int = 2,
        max_values: int = 4096,
        ridge: float = 0.3,
        feature_use: Literal["learned", "placing"] = "learned",
        id_dropout: float = 0.05,
        context_dropout: float = 0.1,
        seed: int = 0,
    ) -> None: ...

class NextItNet(Recommender):
    """NextItNet: dilated causal convolutions with residuals (Yuan et al. 2019).

    Settings of the model:
        embedding_dim (int, at least 1): Width of item embeddings and hidden states. Default: 64.
        max_length (int, at least 1): Number of newest events of a history that the network reads; also
            the longest training window. Default: 50.
        temperature (float | None, above 0): Divisor of the cosine between query and item embedding;
            'none': a dot product and a bias for each item. Default: 0.07.
        spectral_init (bool): Initialize item embeddings by the SVD of the log's windowed co-occurrence
            instead of at random. Default: True.
        covisitation_weight (float | None, at least 0): Weight of the co-visitation model that is added
            to the scores; 'none': chosen on validation (0 without one). Default: None.
        time_inputs (tuple[Literal['gap', 'daypart', 'weekday'], ...]): Any of gap (time since the event
            before), daypart (hour) and weekday, all in UTC. Each adds its embedding to the item
            embedding of the event. Default: ().
        kernel_size (int, at least 1): Number of positions that one convolution mixes. Default: 3.
        dilations (tuple[int, ...], at least 1): Distance between the positions of a convolution, one
            entry a residual block. The second convolution of the block has twice this distance.
            Default: (1, 4).
        dropout (float, in [0, 1)): Dropout probability on the embedded input and on the branch of each
            block. Default: 0.2.

    Settings of the training:
        batch_tokens (int, at least 1): Number of events in a batch, padding included. Default: 4096.
        parallel_sessions (int, at least 0): Number of sessions in a session-parallel batch of GRU4Rec
            (Hidasi et al. 2016), which takes the next event of each; 0: packed windows of whole
            histories. Default: 0.
        bptt_steps (int, at least 1): Number of events of each parallel session in a batch, which is the
            length of backpropagation through time. Default: 1.
        session_order (Literal['shuffled', 'time']): Order in which parallel sessions are started. time:
            by first timestamp, or the log's order without timestamps. Default: 'shuffled'.
        loss (Literal['auto', 'full', 'sampled', 'bce', 'gbce', 'bpr-max', 'top1-max']): Loss function.
            full: softmax over the catalog; sampled: softmax over sampled negatives; auto: full up to
            30,000 items if memory_gb holds it, else sampled; bce (SASRec), gbce (gSASRec), bpr-max and
            top1-max (GRU4Rec): as published, over sampled negatives. Default: 'auto'.
        num_negatives (int, at least 1): Number of negatives sampled for a batch and shared by its
            targets. The full softmax ignores it. Default: 2048.
        negative_sampling_exponent (float): Exponent of the sampling distribution, q(item) ~ popularity
            ** exponent; 0: uniform. Default: 0.5.
        negative_source (Literal['popularity', 'in-batch', 'mixed']): Source of negatives. popularity:
            sampled from q; in-batch: the targets of the batch; mixed: both. Default: 'popularity'.
        logq_correction (bool): Subtract log q(item) from each sampled logit (the log-q correction,
            Bengio & Senecal 2008). Applies to the sampled softmax; bpr-max, top1-max, bce and gbce
            ignore it. Default: True.
        num_hardest_negatives (int, at least 0): Number of highest-scoring negatives of each target that
            enter the loss; 0: all negatives. Default: 0.
        gbce_t (float, in [0, 1]): Calibration t of gbce (Petrov & Macdonald 2023), from 0 (plain BCE)
            to 1 (probabilities as if every item were a negative). Default: 0.75.
        score_penalty (float, at least 0): Weight of the squared scores of negatives in bpr-max.
            Default: 1.0.
        elu_alpha (float | None, above 0): Alpha of the ELU that bpr-max and top1-max apply to scores;
            'none': scores unchanged. Default: None.
        memory_gb (float | None, above 0): Memory limit of the training, in 10**9 bytes; 'none': the
            memory of the machine, or of its control group. Default: None.
        epochs (int, at least 1): Maximum number of passes over the log. Default: 10.
        optimizer (Literal['adam', 'adagrad']): Optimizer. adagrad: the one GRU4Rec was published with.
            Default: 'adam'.
        learning_rate (float, above 0): Peak learning rate; see schedule. Default: 0.003.
        schedule (Literal['cosine', 'constant']): Learning-rate schedule. cosine: linear warm-up over
            the first twentieth of the steps, then half a cosine down to a twentieth of the peak.
            Default: 'cosine'.
        momentum (float, in [0, 1)): Momentum of adagrad, for the rows of the item table that a step
            updates. Default: 0.0.
        weight_decay (float): Decoupled weight decay of the encoder's matrices. Default: 0.0.
        max_grad_norm (float | None, above 0): Norm to which longer gradients of the encoder are
            clipped; 'none': no clipping. Default: 1.0.
        patience (int, at least 1): Number of epochs without a better validation after which training
            stops; without validation all epochs run. Default: 3.
        precision (Literal['auto', 'float32', 'bfloat16']): Precision of the large matrix products;
            auto: bfloat16 if the processor has instructions for it. Default: 'auto'.

    Settings of the features:
        features (tuple[str, ...]): Columns of the item table; empty: items are known by their events
            alone. Default: ().
        contexts (tuple[str, ...]): Columns of the log, or of a user table, with the context of events
            (region, device). Default: ().
        min_items (int, at least 1): Minimum number of training items (events, for a context) with a
            value or word, at least 1. Rarer ones count as unknown. Default: 2.
        max_values (int, at least 1): Maximum number of values or words of a column with an embedding,
            at least 1: the most frequent ones. Default: 4096.
        ridge (float, above 0): L2 penalty, above 0, of the ridge regression of item embeddings on
            features: of spectral embeddings at the start of training, of trained ones with
            ``feature_use`` "placing". Default: 0.3.
        feature_use (Literal['learned', 'placing']): learned: feature embeddings are part of every item
            embedding. placing: items with events are trained without features, and a regression on
            features gives the embeddings of cold items. Default: 'learned'.
        id_dropout (float, in [0, 1)): Share of items, in [0, 1), that a training step encodes by
            features alone, so that cold items can be scored. Default: 0.05.
        context_dropout (float, in [0, 1)): Share of events, in [0, 1), trained on without context, so
            that histories without context can be scored. Default: 0.1.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_length: int = 50,
        temperature: float | None = 0.07,
        spectral_init: bool = True,
        covisitation_weight: float | None = None,
        time_inputs: tuple[Literal["gap", "daypart", "weekday"], ...] | list[Literal["gap", "daypart", "weekday"]] = (),
        kernel_size: int = 3,
        dilations: tuple[int, ...] | list[int] = (1, 4),
        dropout: float = 0.2,
        batch_tokens: int = 4096,
        parallel_sessions: int = 0,
        bptt_steps: int = 1,
        session_order: Literal["shuffled", "time"] = "shuffled",
        loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto",
        num_negatives: int = 2048,
        negative_sampling_exponent: float = 0.5,
        negative_source: Literal["popularity", "in-batch", "mixed"] = "popularity",
        logq_correction: bool = True,
        num_hardest_negatives: int = 0,
        gbce_t: float = 0.75,
        score_penalty: float = 1.0,
        elu_alpha: float | None = None,
        memory_gb: float | None = None,
        epochs: int = 10,
        optimizer: Literal["adam", "adagrad"] = "adam",
        learning_rate: float = 0.003,
        schedule: Literal["cosine", "constant"] = "cosine",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        patience: int = 3,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        features: tuple[str, ...] | list[str] = (),
        contexts: tuple[str, ...] | list[str] = (),
        min_items: int = 2,
        max_values: int = 4096,
        ridge: float = 0.3,
        feature_use: Literal["learned", "placing"] = "learned",
        id_dropout: float = 0.05,
        context_dropout: float = 0.1,
        seed: int = 0,
    ) -> None: ...

class Seq2SeqRec(Recommender):
    """Seq2SeqRec: encoder of the history, and decoder with attention that generates the next items.

    Settings of the model:
        embedding_dim (int, at least 1): Width of item embeddings and hidden states. Default: 64.
        max_length (int, at least 1): Number of newest events of a history that the network reads; also
            the longest training window. Default: 50.
        temperature (float | None, above 0): Divisor of the cosine between query and item embedding;
            'none': a dot product and a bias for each item. Default: 0.07.
        spectral_init (bool): Initialize item embeddings by the SVD of the log's windowed co-occurrence
            instead of at random. Default: True.
        covisitation_weight (float | None, at least 0): Weight of the co-visitation model that is added
            to the scores; 'none': chosen on validation (0 without one). Default: None.
        architecture (Literal['gru', 'transformer', 'gru-transformer', 'transformer-gru']): Encoder,
            then decoder behind the dash; one word: both. A GRU decoder has the attention of Luong et
            al. 2015. Default: 'gru'.
        num_layers (int, at least 1): Number of encoder layers, and of decoder layers. Default: 1.
        horizon (int, at least 1): Number of decoding steps in training; more can be requested in
            generation. Default: 10.
        dropout (float, in [0, 1)): Dropout probability on the hidden states or branches of each layer.
            Default: 0.2.
        scheduled_sampling (float, in [0, 1]): Share of decoder inputs that are the decoder's own
            predictions at the end of training; rises from 0. Default: 0.2.

    Settings of the training:
        batch_tokens (int, at least 1): Number of events in a batch, padding included. Default: 4096.
        parallel_sessions (int, at least 0): Number of sessions in a session-parallel batch of GRU4Rec
            (Hidasi et al. 2016), which takes the next event of each; 0: packed windows of whole
            histories. Default: 0.
        bptt_steps (int, at least 1): Number of events of each parallel session in a batch, which is the
            length of backpropagation through time. Default: 1.
        session_order (Literal['shuffled', 'time']): Order in which parallel sessions are started. time:
            by first timestamp, or the log's order without timestamps. Default: 'shuffled'.
        loss (Literal['auto', 'full', 'sampled', 'bce', 'gbce', 'bpr-max', 'top1-max']): Loss function.
            full: softmax over the catalog; sampled: softmax over sampled negatives; auto: full up to
            30,000 items if memory_gb holds it, else sampled; bce (SASRec), gbce (gSASRec), bpr-max and
            top1-max (GRU4Rec): as published, over sampled negatives. Default: 'auto'.
        num_negatives (int, at least 1): Number of negatives sampled for a batch and shared by its
            targets. The full softmax ignores it. Default: 2048.
        negative_sampling_exponent (float): Exponent of the sampling distribution, q(item) ~ popularity
            ** exponent; 0: uniform. Default: 0.5.
        negative_source (Literal['popularity', 'in-batch', 'mixed']): Source of negatives. popularity:
            sampled from q; in-batch: the targets of the batch; mixed: both. Default: 'popularity'.
        logq_correction (bool): Subtract log q(item) from each sampled logit (the log-q correction,
            Bengio & Senecal 2008). Applies to the sampled softmax; bpr-max, top1-max, bce and gbce
            ignore it. Default: True.
        num_hardest_negatives (int, at least 0): Number of highest-scoring negatives of each target that
            enter the loss; 0: all negatives. Default: 0.
        gbce_t (float, in [0, 1]): Calibration t of gbce (Petrov & Macdonald 2023), from 0 (plain BCE)
            to 1 (probabilities as if every item were a negative). Default: 0.75.
        score_penalty (float, at least 0): Weight of the squared scores of negatives in bpr-max.
            Default: 1.0.
        elu_alpha (float | None, above 0): Alpha of the ELU that bpr-max and top1-max apply to scores;
            'none': scores unchanged. Default: None.
        memory_gb (float | None, above 0): Memory limit of the training, in 10**9 bytes; 'none': the
            memory of the machine, or of its control group. Default: None.
        epochs (int, at least 1): Maximum number of passes over the log. Default: 10.
        optimizer (Literal['adam', 'adagrad']): Optimizer. adagrad: the one GRU4Rec was published with.
            Default: 'adam'.
        learning_rate (float, above 0): Peak learning rate; see schedule. Default: 0.003.
        schedule (Literal['cosine', 'constant']): Learning-rate schedule. cosine: linear warm-up over
            the first twentieth of the steps, then half a cosine down to a twentieth of the peak.
            Default: 'cosine'.
        momentum (float, in [0, 1)): Momentum of adagrad, for the rows of the item table that a step
            updates. Default: 0.0.
        weight_decay (float): Decoupled weight decay of the encoder's matrices. Default: 0.0.
        max_grad_norm (float | None, above 0): Norm to which longer gradients of the encoder are
            clipped; 'none': no clipping. Default: 1.0.
        patience (int, at least 1): Number of epochs without a better validation after which training
            stops; without validation all epochs run. Default: 3.
        precision (Literal['auto', 'float32', 'bfloat16']): Precision of the large matrix products;
            auto: bfloat16 if the processor has instructions for it. Default: 'auto'.

    Settings of the features:
        features (tuple[str, ...]): Columns of the item table; empty: items are known by their events
            alone. Default: ().
        contexts (tuple[str, ...]): Columns of the log, or of a user table, with the context of events
            (region, device). Default: ().
        min_items (int, at least 1): Minimum number of training items (events, for a context) with a
            value or word, at least 1. Rarer ones count as unknown. Default: 2.
        max_values (int, at least 1): Maximum number of values or words of a column with an embedding,
            at least 1: the most frequent ones. Default: 4096.
        ridge (float, above 0): L2 penalty, above 0, of the ridge regression of item embeddings on
            features: of spectral embeddings at the start of training, of trained ones with
            ``feature_use`` "placing". Default: 0.3.
        feature_use (Literal['learned', 'placing']): learned: feature embeddings are part of every item
            embedding. placing: items with events are trained without features, and a regression on
            features gives the embeddings of cold items. Default: 'learned'.
        id_dropout (float, in [0, 1)): Share of items, in [0, 1), that a training step encodes by
            features alone, so that cold items can be scored. Default: 0.05.
        context_dropout (float, in [0, 1)): Share of events, in [0, 1), trained on without context, so
            that histories without context can be scored. Default: 0.1.

    Other:
        seed (int): Random seed; equal seeds give equal models. Default: 0.

    Raises:
        ValueError: an unknown setting, a wrong type or a value outside its range.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_length: int = 50,
        temperature: float | None = 0.07,
        spectral_init: bool = True,
        covisitation_weight: float | None = None,
        architecture: Literal["gru", "transformer", "gru-transformer", "transformer-gru"] = "gru",
        num_layers: int = 1,
        horizon: int = 10,
        dropout: float = 0.2,
        scheduled_sampling: float = 0.2,
        batch_tokens: int = 4096,
        parallel_sessions: int = 0,
        bptt_steps: int = 1,
        session_order: Literal["shuffled", "time"] = "shuffled",
        loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto",
        num_negatives: int = 2048,
        negative_sampling_exponent: float = 0.5,
        negative_source: Literal["popularity", "in-batch", "mixed"] = "popularity",
        logq_correction: bool = True,
        num_hardest_negatives: int = 0,
        gbce_t: float = 0.75,
        score_penalty: float = 1.0,
        elu_alpha: float | None = None,
        memory_gb: float | None = None,
        epochs: int = 10,
        optimizer: Literal["adam", "adagrad"] = "adam",
        learning_rate: float = 0.003,
        schedule: Literal["cosine", "constant"] = "cosine",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = 1.0,
        patience: int = 3,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        features: tuple[str, ...] | list[str] = (),
        contexts: tuple[str, ...] | list[str] = (),
        min_items: int = 2,
        max_values: int = 4096,
        ridge: float = 0.3,
        feature_use: Literal["learned", "placing"] = "learned",
        id_dropout: float = 0.05,
        context_dropout: float = 0.1,
        seed: int = 0,
    ) -> None: ...
