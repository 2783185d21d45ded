"""Pictures as NumPy arrays: decoding, masks, placement, regions and compositing, without torch."""
