"""The commands that do not serve, without their command-line options."""
