"""What measuring stands on: a database, processes, an upstream, work to do."""
