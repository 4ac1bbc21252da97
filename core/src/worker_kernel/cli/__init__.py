"""The command line ``kernel``: one module per command, imported only when the command is called."""
