"""What a report concludes: which variant is loaded, and what to ship."""
