"""Settings: `base` reads everything from the environment, `test` only makes it fast."""
