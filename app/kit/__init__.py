"""The toolbox: no domain word in here."""
