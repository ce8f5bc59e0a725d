"""The pictures of the emulator: inputs opened, results drawn."""
