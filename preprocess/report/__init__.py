"""What a run did: numbers, pictures and a page."""
