"""The models and the device that runs them: the only package that imports torch."""
