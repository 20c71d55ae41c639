"""Keras models as plugins: training, checkpoints, TensorFlow's set-up."""
