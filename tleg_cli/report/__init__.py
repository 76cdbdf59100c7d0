"""Numbers become tables, JSON, plots and pages. Nothing else prints."""
