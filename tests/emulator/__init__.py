"""The emulator, spoken to over real sockets."""
