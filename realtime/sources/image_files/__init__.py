"""Image files of every kind, read with Pillow: single images, animations, pages and folders."""
