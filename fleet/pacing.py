"""A token bucket: so many bytes a second in the long run, and a burst after a rest."""

from __future__ import annotations


class TokenBucket:
    """Tells how long to wait before the next bytes may leave. Times are monotonic seconds."""

    def __init__(self, bytes_per_s: float, burst_bytes: float, now_s: float) -> None:
        """`bytes_per_s` above 0. The bucket is full at first."""
        self._rate = bytes_per_s
        self._burst = burst_bytes
        self._tokens = burst_bytes
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until something may be sent; 0 now."""
        passed_s = max(0.0, now_s - self._at_s)
        self._tokens = min(self._burst, self._tokens + passed_s * self._rate)
        self._at_s = now_s
        return 0.0 if self._tokens > 0 else -self._tokens / self._rate

    def spend(self, sent_bytes: int) -> None:
        """Something was sent; the last one may overdraw the bucket."""
        self._tokens -= sent_bytes
