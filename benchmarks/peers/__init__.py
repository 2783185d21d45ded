"""Other servers that people would run instead, each in an environment of its own, on the same weights."""
