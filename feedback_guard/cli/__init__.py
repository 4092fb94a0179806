"""The commands, one file each; `main.py` puts them together."""
