"""The engine's HTTP application and the process around it."""
