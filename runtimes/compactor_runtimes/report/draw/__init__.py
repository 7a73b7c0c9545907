"""How a report is drawn: terminal, Markdown, HTML and their charts."""
