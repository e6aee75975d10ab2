"""What the console's templates need and Django does not have."""

from django import template

from linkit import audit

register = template.Library()
register.filter("in_words", audit.in_words)
