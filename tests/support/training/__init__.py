"""Small learners and faces to train them on."""
