"""The test suite. It brings its own PostgreSQL, its own Valkey and its own SMS gateway; it needs no network."""
