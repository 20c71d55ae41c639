"""From waveforms to feature arrays: extraction, the store, pretrained encoders."""
