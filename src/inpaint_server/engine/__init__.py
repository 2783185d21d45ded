"""The one owner of the device: queue, micro-batches, deadlines, cancellation."""
