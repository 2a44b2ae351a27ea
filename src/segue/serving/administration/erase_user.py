"""Erasure of a user: the erasure list first, then events, memory and attribution rows, then a receipt."""

import hashlib
import time

import msgspec

from segue.data.erasure_list import ErasureList
from segue.serving.deployment.variant_router import VariantRouter
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.schemas.admin import ErasureReceipt
from segue.serving.schemas.requests import HistoryKey
from segue.serving.store.event_store import ErasedCounts, EventStore
from segue.serving.store.group_commit import GroupCommitWriter


def erase_user(
    user_id: str, *, writer: GroupCommitWriter, router: VariantRouter, erasures: ErasureList
) -> ErasureReceipt:
    """Erase a user from everything that this server keeps. Slow: the event log is rewritten.

    The erasure list is written first: after a crash in between, the next start completes the erasure. Deployed models
    stay trained on the user's events until they are trained again with the list.

    Args:
        user_id: the user.
        writer: writer of the event store.
        router: router whose memory and attribution rows are erased.
        erasures: list of erased users.

    Raises:
        Problem: 503 if the event log cannot be written.
    """
    now_us = time.time_ns() // 1000
    user: HistoryKey = ("user_id", user_id)
    erasures.add([user], now_us)
    erased: ErasedCounts = writer.run(lambda store: store.erase(user_id)).result()
    keys = [user, *(("session_id", session) for session in erased.sessions)]
    if erased.sessions:
        erasures.add(keys, now_us)
    router.forget(keys)
    recorder = router.recorder
    attribution_rows = recorder.forget(keys) if isinstance(recorder, AttributionRecorder) else 0
    digest = erasures.digest(*user)
    proved = (digest, now_us, erased.events, len(erased.sessions), attribution_rows)
    return ErasureReceipt(
        user_digest=digest,
        time_us=now_us,
        events=erased.events,
        sessions=len(erased.sessions),
        attribution_rows=attribution_rows,
        compacted=erased.compacted,
        affected_versions=[model.version for model in router.deployment.loaded_models()],
        proof=hashlib.sha256(msgspec.json.encode(proved)).hexdigest(),
    )


def reapply_erasures(store: EventStore, erasures: ErasureList) -> int:
    """Erase the events of erased users that are in the log all the same, and return the number of users.

    Called at a start: the log may be restored from a backup, or an erasure may have been interrupted. Events after a
    user's erasure stay.

    Args:
        store: the event store.
        erasures: list of erased users.
    """
    if not len(erasures):
        return 0
    erased_until = ((user, erasures.erased_until_us("user_id", user)) for user in store.user_ids())
    users = [
        (user, until_us)
        for user, until_us in erased_until
        if until_us is not None and store.has_events_until(user, until_us)
    ]
    for user, until_us in users:
        store.erase(user, until_us=until_us)
    return len(users)
