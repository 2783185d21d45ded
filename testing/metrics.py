"""A server's Prometheus metrics at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from http.client import HTTPConnection

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Metrics:
    """Every sample of one scrape, by name and labels."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    @classmethod
    def read(cls, port: int) -> Metrics:
        """Scrape a port of the loopback interface."""
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        families = text_string_to_metric_families(text)
        return cls(
            {
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in families
                for sample in family.samples
            }
        )

    def value(self, name: str, **labels: str) -> float:
        """The value of a sample; 0 if there is none."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)
