"""Contacts, their attributes and audiences, template rendering, the single SMS and SMS programs."""
