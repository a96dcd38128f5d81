"""The report of a sweep: effects of a design's parts, pictures, results.json and HTML."""
