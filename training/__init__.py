"""Training of the demo bundle: procedural pictures, small models, and the commands that train and judge them."""
