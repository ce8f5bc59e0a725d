"""What the upstream has made is kept: before its URLs die, in the order in which they do."""
