"""What is known of an experiment before anything is computed: its pipelines, corpus and splits."""
