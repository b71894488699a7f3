"""Labelled faces and boxes of users, in any folder: lists, tables, COCO and files of nasion."""
