"""A deployment on SageMaker: its AWS requests as plain data, and the few calls that create, show and remove it."""
