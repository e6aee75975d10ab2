"""HTTP doors of this package: the App Store, the slugged API, and the SMS log."""
