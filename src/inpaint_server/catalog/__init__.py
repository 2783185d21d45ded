"""A catalogue of products done in one go: rows in, adverts and a report out, resumable after any stop."""
