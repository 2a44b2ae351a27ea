"""Exit codes of the server: a supervisor may start it again after each of them but ``REFUSED``."""

import errno

STOPPED = 0
"""A signal stopped the server, and every part was closed."""
REFUSED = 2
"""The operator has to correct an option, a key or the model; a restart would fail again."""
RETRY = 75
"""The port or the data directory is in use, or the disk is full: a later start may succeed (EX_TEMPFAIL)."""
GRACE_OVER = 124
"""The grace was over before every part was closed. No acknowledged event is lost."""
SECOND_SIGNAL = 128
"""Added to the number of a second signal, which ends the server at once: 143 SIGTERM, 130 SIGINT. No acknowledged event
is lost."""
_TEMPORARY = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}


class TemporaryError(ValueError):
    """Error of a start that a later start may not have: a port or a data directory that is in use."""


def exit_code_of(error: Exception) -> int:
    """Return the exit code of an error that ended a start."""
    is_temporary = isinstance(error, TemporaryError) or (isinstance(error, OSError) and error.errno in _TEMPORARY)
    return RETRY if is_temporary else REFUSED


def sentence_of(error: Exception) -> str:
    """Return the sentence for the operator."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}." if error.filename is not None else f"{error}."
    return str(error)
