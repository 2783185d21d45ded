"""Servers, pictures and traffic that tests and benchmarks share."""
