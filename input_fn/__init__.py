"""TFRecord files to batches of requests, with tf.data."""
