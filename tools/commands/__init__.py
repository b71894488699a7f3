"""Subcommands of ``nasion``, one module each."""
