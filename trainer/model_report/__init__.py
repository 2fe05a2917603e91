"""The page about one trained model or several side by side."""
