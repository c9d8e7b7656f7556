"""A package, because there are libraries that install one of this name (pgx)."""
