"""The rival of `enqueue.py`: the same job as Django REST Framework's own guide would have it done.

`TokenAuthentication`, a `Serializer`, and `get_or_create` of the ORM on (user, idempotency key), with the settings and
middleware of the product. What it leaves out of the product's job is to its advantage: limits, a wake-up for the
workers, and whether an app is installed that could send the message.
"""
