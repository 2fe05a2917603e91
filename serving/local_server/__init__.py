"""The local REST server: TensorFlow Serving's URLs, JSON and error texts, for trials and tests."""
