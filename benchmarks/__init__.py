"""What an advert costs, beside the obvious way and beside other servers: `python -m benchmarks`."""
