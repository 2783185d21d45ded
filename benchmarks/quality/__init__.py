"""The quality of the pictures, in figures and on sheets, beside the replaced sample's algorithm on the same weights."""
