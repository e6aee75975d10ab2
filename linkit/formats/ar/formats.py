"""Arabic pages: Western digits, grouped and separated as in English."""

DECIMAL_SEPARATOR, THOUSAND_SEPARATOR, NUMBER_GROUPING = ".", ",", 3
