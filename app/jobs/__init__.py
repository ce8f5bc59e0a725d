"""One edit job, from acceptance to kept pictures."""
