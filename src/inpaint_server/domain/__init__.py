"""What a photo, a request, a model call and a result are. NumPy only."""
