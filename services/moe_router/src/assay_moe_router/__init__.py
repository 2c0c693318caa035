"""moe-router: are the experts balanced, and can replicas and quantisation balance them for free?"""
