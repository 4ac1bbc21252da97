"""Control of a running worker, without its broker: named commands, and a socket by which they are reached."""
