"""Parts of ``nasion train``: its runs, their folders, what they show, and options from files."""
