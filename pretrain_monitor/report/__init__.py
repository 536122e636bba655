"""Reports: pure functions of an ``Audit``, for the terminal, Markdown, JSON and one HTML page."""
