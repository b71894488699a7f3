"""The commands of ``nasion``, a file each."""
