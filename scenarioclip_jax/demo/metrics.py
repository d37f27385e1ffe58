"""What the service counts, in the text format that Prometheus reads."""

import threading
from collections import Counter

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # upper ends of the histogram's bins


class Metrics:
    """Counts requests, their seconds and the sizes of batches."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._bins: Counter[float] = Counter()
        self._seconds = 0.0
        self._batches = self._items = 0

    def request(self, route: str, status: int, seconds: float) -> None:
        with self._lock:
            self._requests[route, status] += 1
            self._seconds += seconds
            self._bins.update(end for end in SECONDS if seconds <= end)

    def batch(self, count: int) -> None:
        with self._lock:
            self._batches += 1
            self._items += count

    def text(self, waiting: int) -> str:
        """All of it; `waiting` is the length of the queue now."""
        with self._lock:
            total = sum(self._requests.values())
            lines = ["# TYPE requests_total counter"]
            lines += [
                f'requests_total{{route="{route}",status="{status}"}} {count}'
                for (route, status), count in sorted(self._requests.items())
            ]
            lines += ["# TYPE request_seconds histogram"]
            lines += [f'request_seconds_bucket{{le="{end}"}} {self._bins[end]}' for end in SECONDS]
            lines += [f'request_seconds_bucket{{le="+Inf"}} {total}']
            lines += [f"request_seconds_sum {self._seconds:.6f}", f"request_seconds_count {total}"]
            lines += ["# TYPE queue_length gauge", f"queue_length {waiting}"]
            lines += ["# TYPE batch_size summary", f"batch_size_sum {self._items}"]
            lines += [f"batch_size_count {self._batches}"]
        return "\n".join(lines) + "\n"
