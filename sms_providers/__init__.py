"""The App Store: adapters and installations, the SMS log with its attempts, and the slugged API."""
