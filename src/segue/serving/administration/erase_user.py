"""Forgetting a person: the list of the erased first, then events, memory and measurements, then a receipt."""

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
    """Takes a person out of everything that this server keeps. Slow: it rewrites the event log.

    The list is written first: a server that dies in between finishes the erasure when it starts again. Models that
    are at work have learned from the person until they are trained anew, with the list. Problem (503) where the log
    cannot be written.
    """
    now_us = time.time_ns() // 1000
    user: HistoryKey = ("user_id", user_id)
    erasures.add([user], now_us)
    erased: ErasedCounts = writer.run(lambda store: store.erase(user_id)).result()
    keys = [user, *(("session_id", one) for one in erased.sessions)]
    if erased.sessions:
        erasures.add(keys, now_us)
    router.forget(keys)
    measured = router.recorder.forget(keys) if isinstance(router.recorder, AttributionRecorder) else 0
    person = erasures.digest(*user)
    told = (person, now_us, erased.events, len(erased.sessions), measured)
    proof = hashlib.sha256(msgspec.json.encode(told)).hexdigest()
    lineup = router.deployment
    return ErasureReceipt(
        user_digest=person,
        time_us=now_us,
        events=erased.events,
        sessions=len(erased.sessions),
        attribution_rows=measured,
        compacted=erased.compacted,
        affected_versions=[one.version for one in lineup.loaded_models()],
        proof=proof,
    )


def reapply_erasures(store: EventStore, erasures: ErasureList) -> int:
    """What a start does: takes out what people did before they were erased, where it is in the log all the same: the
    log was restored from a backup, or an erasure did not come to its end. How many people.

    What somebody who came back has done since then stays.
    """
    if not len(erasures):
        return 0
    moments = ((user, erasures.erased_until_us("user_id", user)) for user in store.user_ids())
    found = [(user, until) for user, until in moments if until is not None and store.has_events_until(user, until)]
    for user, until in found:
        store.erase(user, until_us=until)
    return len(found)
