"""In front of the network of a served model: from raw ids, words and numbers to features, as TensorFlow ops."""
