"""From a journal to the faces of every frame: identities joined, gaps filled, landmarks smoothed without lag."""
