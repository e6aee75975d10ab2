"""One module per provider, each made from what that provider publishes."""
