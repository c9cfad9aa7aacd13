"""Errors of sessions; the server gives each a status of its own."""

from recurlm.errors import CorruptFileError, RecurlmError


class SessionMissingError(RecurlmError):
    """No session has this id, or it expired or was deleted."""


class SessionConflictError(RecurlmError):
    """The session is no longer in the state from which a change started; nothing was changed."""


class SessionsFullError(RecurlmError):
    """The database holds as many sessions as it may."""


class DamagedSessionError(CorruptFileError):
    """The stored bytes of a session are not those that were written."""
