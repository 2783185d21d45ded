"""From the checkpoints that people have to the models of a bundle."""
