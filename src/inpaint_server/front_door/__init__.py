"""multi-model-server as a thin front door, and its supervision."""
