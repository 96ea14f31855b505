"""Pages of measurements: tables and pictures as one HTML file, Markdown, PNGs and JSON, with machine and date."""
