"""Audio files and what is known of them: from folders and tables to a checked corpus."""
