"""Contacts, custom attributes, template rendering and the single SMS. The contacts issue fills this."""
