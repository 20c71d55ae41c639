"""The built-in plugins: datasets/, features/ and models/, one file each, its stem the plugin's name."""
