"""A local web page over a running server: see the mask, correct it, place the product, compare adverts."""
