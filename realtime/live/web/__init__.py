"""Web server of live feeds: the page, streams of landmarks, the control API and metrics. Needs the extra ``web``"""
