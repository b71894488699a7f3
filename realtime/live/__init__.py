"""Live feeds: many cameras, streams and files tracked with one set of networks, each reconnected when it is lost."""
