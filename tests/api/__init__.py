"""The native door and the plain endpoints, over real sockets."""
