"""The `bench` command: a command reads options, calls the library, prints."""
