"""Plugins: found through entry points (`discovery`), loaded with quarantine (`loading`), called typed (`hooks`)."""
