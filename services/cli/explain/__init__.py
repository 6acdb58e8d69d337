"""`chipsieve explain`: a verdict made again from its picture and the bank it names, and compared with what was said."""
