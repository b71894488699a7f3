"""Data of users: landmarks of any scheme and boxes of any faces, trained from the shipped weights."""
