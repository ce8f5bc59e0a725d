"""`backup` and `restore`: the database and the store of one moment, in a folder."""
