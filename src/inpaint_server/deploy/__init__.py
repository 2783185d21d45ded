"""A deployment on SageMaker: what is asked of AWS as plain data, and the few calls that make, show and remove it."""
