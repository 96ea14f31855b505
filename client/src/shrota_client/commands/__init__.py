"""Subcommands of ``shrota`` that need nothing but the client."""
