"""Erasure of users in durable steps: listed, deleted, compacted, receipted. A start resumes what a crash interrupted.

Listed: the digests of the user and of the user's sessions are in the erasure list, and later arrivals of their earlier
events are refused. Deleted: the events are gone from the log, in one transaction with the record of the erasure, then
from memory and from the attribution file. Compacted: no byte is left in any file. Receipted: the record says so.

All steps run in the writer's thread, so that no event is stored between them. Requests that wait together share them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import apsw

from segue.data.erasure_list import ErasureList
from segue.serving.exit_codes import TemporaryError
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.schemas.requests import HistoryKey
from segue.serving.store.commit_listeners import CommitListeners
from segue.serving.store.event import FUTURE_US, Event
from segue.serving.store.event_erasure import ErasureRecord, ErasureTarget
from segue.serving.store.event_store import EventStore


class ErasureSteps:
    """Steps of an erasure, and refusal of earlier events of erased users. Called in the writer's thread."""

    def __init__(self, store: EventStore, erasures: ErasureList) -> None:
        """Make the steps of a data directory.

        Args:
            store: event store.
            erasures: list of erased users.
        """
        self.store = store
        self.erasures = erasures
        self.listeners = CommitListeners()
        """Listeners that drop erased users from memory."""
        self.recorder: AttributionRecorder | None = None
        """Recorder whose rows are erased too; None: lists are not recorded."""
        self.on_compaction_due: Callable[[], None] = lambda: None
        """Called when deleted bytes are left in the file."""

    def resume(self) -> list[str]:
        """Complete the erasures that a crash interrupted, and repeat those that a restored backup has undone.

        Called at a start, before events are stored. Events after a user's erasure stay.

        Returns:
            One sentence about each of: entries restored to the list, events erased, a file compacted.

        Raises:
            TemporaryError: the erasures cannot be completed, because the disk refuses.
        """
        path, messages = self.store.path, []
        try:
            recorded = self.store.erasure.recorded_until_us()
            missing = {d: us for d, us in recorded.items() if us > (self.erasures.digest_erased_until_us(d) or -1)}
            if missing:
                self.erasures.add_digests(missing)
                messages.append(f"{len(missing)} erased users of {path} were not in the erasure list, and were added.")
            targets = self._targets_stored_again()
            if targets:
                self._list(targets)
                self.store.erasure.delete(targets)
                messages.append(
                    f"{len(targets)} erased users or sessions were in {path} again, and were erased from it."
                )
        except (apsw.Error, OSError) as error:
            raise TemporaryError(
                f"Erased users cannot be erased from {path} ({error}): free space and start again."
            ) from None
        try:
            if self.store.erasure.compaction_due and not targets:
                messages.append(f"An erasure from {path} was interrupted, and was completed.")
            if self.store.erasure.compaction_due and not self.store.erasure.compact():
                raise apsw.BusyError("another process reads the file")
        except (apsw.Error, OSError) as error:
            messages = [message for message in messages if "interrupted" not in message]
            messages.append(
                f"{path} may still hold bytes of erased events ({error}): the erasure is tried again later."
            )
        return messages

    def erase(self, users: Sequence[str]) -> dict[str, ErasureRecord]:
        """Erase users in all steps, and return their records by user."""
        now_us = self.store.clock.stamp_us()
        targets = [self._user_target(user, now_us) for user in users]
        if self.recorder is not None:  # before the list names them: opening the file deletes the rows of listed users
            counts = self.recorder.count_rows([[t.digest, *t.session_digests] for t in targets])
            targets = [replace(target, attribution_rows=count) for target, count in zip(targets, counts, strict=True)]
        self._list(targets)
        self.store.erasure.delete(targets)
        self.store.clock.advance(now_us + 1)  # a returning user's next event is later than the erasure
        self._forget(targets)
        rows = self._forget_rows([target.digest for target in targets])
        if not self.store.erasure.compact():
            self.on_compaction_due()
        records = self.store.erasure.give_receipts(rows)
        return {user: records[target.digest] for user, target in zip(users, targets, strict=True)}

    def _list(self, targets: Sequence[ErasureTarget]) -> None:
        self.erasures.add_digests({d: t.until_us for t in targets for d in (t.digest, *t.session_digests)})

    def _forget(self, targets: Sequence[ErasureTarget]) -> None:
        """Drop users and sessions from memory, with the rows that wait to be recorded."""
        keys: list[HistoryKey] = []
        for target in targets:
            keys += [] if target.user_id is None else [("user_id", target.user_id)]
            keys += [("session_id", session) for session in target.sessions]
        self.listeners.on_erase(keys)

    def _forget_rows(self, digests: Sequence[str]) -> dict[str, int]:
        """Delete the attribution rows of users and of their sessions, also those of an earlier attempt."""
        if self.recorder is None:
            return dict.fromkeys(digests, 0)
        records = [self.store.erasure.record(digest) for digest in digests]
        groups = [[record.digest, *record.session_digests] for record in records if record is not None]
        return dict(zip(digests, self.recorder.forget_digests(groups), strict=True))

    def _user_target(self, user_id: str, now_us: int) -> ErasureTarget:
        """Return a user with all events, also those whose client's clock is ahead."""
        sessions, newest_us = self.store.erasure.sessions_of(user_id)
        digest = self.erasures.digest("user_id", user_id)
        attempt = self.store.erasure.record(digest)
        earlier = () if attempt is None else attempt.session_digests
        if earlier:  # an attempt without a receipt has deleted the events that named these sessions
            stored = {id for id_type, id in self.store.erasure.stored_keys() if id_type == "session_id"}
            sessions += [s for s in stored.difference(sessions) if self.erasures.digest("session_id", s) in earlier]
        until_us = max(now_us, min(newest_us, now_us + FUTURE_US))
        digests = [*(self.erasures.digest("session_id", session) for session in sessions), *earlier]
        return ErasureTarget(digest, user_id, sessions, digests, until_us)

    def _session_target(self, session: str, until_us: int) -> ErasureTarget:
        digest = self.erasures.digest("session_id", session)
        return ErasureTarget(digest, None, [session], [digest], until_us, until_us)

    def _targets_stored_again(self) -> list[ErasureTarget]:
        """Return the listed users and sessions that have events from before their erasure in the log."""
        if not len(self.erasures):
            return []
        users: dict[str, int] = {}
        sessions: dict[str, int] = {}
        for id_type, id in self.store.erasure.stored_keys():
            until_us = self.erasures.erased_until_us(id_type, id)
            if until_us is not None:
                (users if id_type == "user_id" else sessions)[id] = until_us
        targets = []
        for user, until_us in users.items():
            own, _ = self.store.erasure.sessions_of(user, until_us)
            digests = [self.erasures.digest("session_id", session) for session in own]
            digest = self.erasures.digest("user_id", user)
            targets.append(ErasureTarget(digest, user, own, digests, until_us, until_us))
        targets = [target for target in targets if self.store.erasure.holds(target)]
        known = {session for target in targets for session in target.sessions}
        others = [self._session_target(session, us) for session, us in sessions.items() if session not in known]
        return targets + [target for target in others if self.store.erasure.holds(target)]

    def without_erased(self, batches: Sequence[Sequence[Event]]) -> Sequence[Sequence[Event]]:
        """Return batches without the events of erased users from before the erasure. For the writer's thread.

        Such an event may name a session that was not known as the user's. The session is then erased too.

        Raises:
            OSError: the erasure list cannot be written.
            apsw.Error: the log cannot be written.
        """
        if not len(self.erasures):
            return batches
        covers, until_of = self.erasures.covers, self.erasures.erased_until_us
        kept = [[e for e in batch if not covers(e.user_id, e.session_id, e.time_us)] for batch in batches]
        if all(len(batch) == len(sent) for batch, sent in zip(kept, batches, strict=True)):
            return batches
        sessions: dict[str, int] = {}
        for event in (event for batch in batches for event in batch):
            if event.user_id is None or event.session_id is None:
                continue
            until_us = until_of("user_id", event.user_id) or -1
            if event.time_us <= until_us > (until_of("session_id", event.session_id) or -1):
                sessions[event.session_id] = max(until_us, sessions.get(event.session_id, -1))
        if not sessions:
            return kept
        self._erase_sessions(sessions)
        return [[e for e in batch if not covers(e.user_id, e.session_id, e.time_us)] for batch in kept]

    def _erase_sessions(self, until_us: dict[str, int]) -> None:
        """Erase the events without a user of sessions, up to a time for each."""
        targets = [self._session_target(session, until) for session, until in until_us.items()]
        if self.recorder is not None:
            self.recorder.forget_digests([[target.digest for target in targets]])
        self._list(targets)
        stored = [target for target in targets if self.store.erasure.holds(target)]
        if stored:
            self.store.erasure.delete(stored)
            self._forget(stored)
            self.on_compaction_due()
