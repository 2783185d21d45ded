"""HTTP: the wire's codec, the engine's ASGI application, the front door and their supervisor."""
