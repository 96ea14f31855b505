"""Everything that Shrota raises on purpose.

::

    ShrotaError
    ├── AudioError            (ValueError)      audio that cannot be read or sent
    ├── ManifestError         (ValueError)      a manifest line that is not one
    ├── RequestError                            the server refused the request; the caller can mend it
    ├── QueueFullError                          the server's queue is full; try again later
    ├── ServerUnavailableError (ConnectionError) no server at the address, or it went away
    └── RequestTimeoutError   (TimeoutError)    no answer within the time-out
"""


class ShrotaError(Exception):
    """Base of every error that Shrota raises on purpose; its text is one line that says what to do."""
