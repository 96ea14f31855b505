"""``locust -f loadtest/locustfile.py``: users of a Shrota server; see ``README.md`` beside it."""

from shrota_loadtest.locustfile import ClosedGrpc, ClosedHttp, OpenGrpc, OpenHttp, StreamGrpc, StreamHttp

__all__ = ["ClosedGrpc", "ClosedHttp", "OpenGrpc", "OpenHttp", "StreamGrpc", "StreamHttp"]
