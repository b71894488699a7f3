"""Access to the web server: the guard in front of it, tokens and sessions, hosts and origins, and limits"""
