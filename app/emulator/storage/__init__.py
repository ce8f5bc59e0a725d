"""The object store beside the emulator: uploads in, results out."""
