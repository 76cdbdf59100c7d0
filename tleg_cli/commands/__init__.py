"""Subcommands: one thin file each; options -> config -> one library call -> report."""
