"""What kombu transports share whose messages are leased: they come back when their holder dies.

A transport by others may use it too: it brings the fetching, the flushing and the sleeping; here is what becomes of a
message between the two.
"""
