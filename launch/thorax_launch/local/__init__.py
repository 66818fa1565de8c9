"""The same jobs on this machine: real toolkit, real folders, no account."""
