"""Queued messages: enqueue, claim, dispatch, fail over, reap."""
