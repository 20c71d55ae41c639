"""From audio files and tables of clips to a checked corpus."""
